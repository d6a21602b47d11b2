"""The audit of a training job's data: by line, with the model that the training starts from, told as events."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infonce.audit import Audit, audit_file
from infonce.cleaning import trainable
from infonce.config import EncoderConfig
from infonce.dialects import FieldMapping
from infonce.findings import MEANINGS, FindingCode, Findings
from infonce.formats import opened_pairs
from infonce.length_picture import TokenCounter
from infonce.negative_scores import score_negatives
from infonce.pairs import Pair
from infonce.vectors import TextEncoder
from worker.progress import Progress

MAX_SHARE_LOST: Final = 0.05
"""More tokens of a side than that, cut off, are worth a word: what is cut can neither be learnt nor found."""

_TOLD: Final = (
    FindingCode.DEGENERATE_DATASET,
    FindingCode.CONFLICTING_PAIR,
    FindingCode.QUERY_AMONG_NEGATIVES,
    FindingCode.HELD_OUT_QUERY,
    FindingCode.LABEL_IGNORED,
    FindingCode.NEGATIVE_ABOVE_POSITIVE,
)


def audit_order(
    order: Mapping[str, Any], source: TextEncoder, *, reads: EncoderConfig, progress: Progress
) -> dict[str, Any]:
    """The `audit` of the report; what a user had better know is an event as well.

    Lengths are those that the training `reads`, its prompts included; negatives are scored by `source`, the base model.
    """
    file, held_out = order["training_file"], order["validation_file"]
    path, mapping = Path(file["path"]), _mapping(file)
    name, folder = order["model"]["name"], Path(order["model"]["path"])
    counter = TokenCounter.of(folder, name, max_length=reads.max_seq_length, prompts=reads.prompts)

    def read() -> Iterator[tuple[int, Pair]]:
        with opened_pairs(path, mapping=mapping) as reader:
            yield from reader

    found = audit_file(
        path,
        mapping=mapping,
        held_out=None if held_out is None else Path(held_out["path"]),
        held_out_mapping=None if held_out is None else _mapping(held_out),
        counter=counter,
        watch=_Watch(progress),
    )
    _, dropped = trainable(pair for _, pair in read())
    findings = Findings()
    scores = score_negatives(source, read, name=name, findings=findings) if found.negatives else None
    found = found.with_findings(findings.found(), scores=scores, dropped=dropped)
    _tell(found, progress)
    return found.to_dict()


def _tell(found: Audit, progress: Progress) -> None:
    for finding in found.findings:
        if finding.code in _TOLD:
            lines = [issue.line for issue in finding.issues if issue.line is not None]
            where = f", first in line {lines[0]}" if lines else ""
            message = f"{finding.count:,} × {MEANINGS[finding.code]}{where}; the report names the places."
            data = {"count": finding.count, "lines": lines}
            progress.event("warn", finding.code.value, message=message, data=data)
    if found.dropped is not None and any(found.dropped.values()):
        copies, own = found.dropped["duplicate_pair"], found.dropped["query_equals_positive"]
        message = f"Left out are {copies:,} copies of pairs and {own:,} pairs whose positive is their query."
        progress.event("warn", "dropped_pairs", message=message, data=found.dropped)
    for side in ("queries", "documents"):
        lost = 0.0 if found.lengths is None else found.lengths[side]["share_lost"]
        if found.lengths is not None and lost > MAX_SHARE_LOST:
            data = {"side": side, **{name: found.lengths[side][name] for name in ("truncated", "texts", "share_lost")}}
            message = f"The maximum length of {found.lengths['max_length']} tokens cuts off {lost:.1%} of the {side}' "
            message += (
                f"tokens, in {data['truncated']:,} of {data['texts']:,} texts; raise max_seq_length, or split them."
            )
            progress.event("warn", FindingCode.TRUNCATED_TEXT.value, message=message, data=data)


def _mapping(file: Mapping[str, Any]) -> FieldMapping | None:
    return None if file["mapping"] is None else FieldMapping.from_dict(file["mapping"])


class _Watch:
    """The audit asks whether to stop where the job's child does."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def audited(self, done: int) -> None:
        """The parent knows how many pairs were read; nobody knows of how many."""
        self._progress.step({"step": done})

    def stop_requested(self) -> bool:
        """Whether the job has to stop."""
        return self._progress.stop_requested()
