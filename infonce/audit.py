"""What is wrong with a dataset before an hour is spent on it: read twice, in bounded memory, whatever its size.

What `Audit.to_dict` says (the object `audit` of a job's report, of `infonce audit --json` and of the stored audits):

    version       of this shape
    pairs, negatives, ignored_fields {name: rows}
    findings      a list of {code, level (warn | info), meaning, count, shown, issues: [{line, field, code, detail}]};
                  at most 20 issues of a kind are shown, `count` is all of them
    structure     {queries, positives, distinct_pairs, and positives_per_query, queries_per_positive,
                  negatives_per_pair: histograms [{from, to, count}]}
    sample        {queries, documents: {texts, share}} distinct texts looked at for near duplicates and lengths; a share
                  of 1 is all of them
    near_duplicates  {threshold, queries, documents} how many texts are nearly an earlier one
    lengths       null, or {model, max_length, queries, documents: {texts, tokens, quantiles {"0.5": n}, histogram,
                  truncated, tokens_lost, share_lost}}
    held_out      null, or {pairs, queries, positives, both}: training pairs that share them with held-out ones
    scores        null without negatives or model, or {model, relative_margin, pairs, pairs_with_negatives, negatives,
                  above_positive, suspects, share_above}; fewer pairs than have negatives are a seeded sample
    dropped       null, or {duplicate_pair, query_equals_positive}: pairs that the training left out
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from infonce.config import Side
from infonce.dialects import FieldMapping
from infonce.errors import Stopped
from infonce.findings import VERSION, Finding, FindingCode, Findings
from infonce.formats import opened_pairs
from infonce.length_picture import TokenCounter, length_picture
from infonce.near_duplicates import THRESHOLD, find_near_duplicates
from infonce.pair_keys import PairKeys, is_own_answer
from infonce.pairs import Pair
from infonce.text_sample import SampledText, TextSample, text_digest

LABEL_NAMES: Final = frozenset(
    [
        "score",
        "scores",
        "label",
        "labels",
        "similarity",
        "similarity_score",
        "relevance",
        "rating",
        "gold",
        "gold_label",
        "is_duplicate",
    ]
)
MAX_TEXTS: Final = 50_000  # of each side: near duplicates and lengths take about 15 s
_MAX_CHARACTERS: Final = 8_000_000  # of each side, at most 32 MB
_SEED: Final = 42
_PAIRS_BETWEEN: Final = 10_000

Numbered = Iterator[tuple[int, Pair]]


class AuditWatch(Protocol):
    """Who looks on."""

    def audited(self, done: int) -> None:
        """Take note that so many pairs were read; each is read once or twice."""

    def stop_requested(self) -> bool:
        """Whether the work should end."""


class _Unwatched:
    """Nobody looks on."""

    def audited(self, done: int) -> None:
        """It is nobody's business."""

    def stop_requested(self) -> bool:
        """Whether the work should end: never."""
        return False


UNWATCHED: Final = _Unwatched()


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What a dataset is like; the module says what each part holds."""

    pairs: int
    negatives: int
    ignored_fields: Mapping[str, int]
    findings: tuple[Finding, ...]
    structure: Mapping[str, Any]
    sample: Mapping[str, Any]
    near_duplicates: Mapping[str, Any]
    lengths: Mapping[str, Any] | None
    held_out: Mapping[str, int] | None
    scores: Mapping[str, Any] | None = None
    dropped: Mapping[str, int] | None = None

    def with_findings(self, more: Iterable[Finding], **parts: Any) -> "Audit":
        """This audit with further findings, and with the parts that they belong to."""
        return replace(self, findings=(*self.findings, *more), **parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        parts = ("pairs", "negatives", "ignored_fields", "structure", "sample", "near_duplicates", "lengths")
        return {
            "version": VERSION,
            **{name: getattr(self, name) for name in parts},
            "findings": [finding.to_dict() for finding in self.findings],
            **{name: getattr(self, name) for name in ("held_out", "scores", "dropped")},
        }


def audit_file(
    path: Path,
    *,
    mapping: FieldMapping | None = None,
    held_out: Path | None = None,
    held_out_mapping: FieldMapping | None = None,
    counter: TokenCounter | None = None,
    watch: AuditWatch = UNWATCHED,
) -> Audit:
    """The audit of a file of pairs, each finding with its line.

    Raises:
        DatasetError: a line of one of the files is broken; all are counted.
        Stopped: the watch asked to stop.
    """
    ignored: dict[str, int] = {}

    def read(path: Path, mapping: FieldMapping | None) -> Numbered:
        with opened_pairs(path, mapping=mapping) as reader:
            yield from reader
            reader.raise_any()
            ignored.clear()
            ignored.update(reader.ignored_names)

    theirs = None if held_out is None else list_keys(read(held_out, held_out_mapping))
    found = audit_pairs(lambda: read(path, mapping), held_out=theirs, counter=counter, watch=watch)
    findings = Findings()
    for name, rows in sorted(ignored.items()):
        if name.lower() in LABEL_NAMES:
            detail = f"{name!r} stands in {rows:,} rows and is not read: rows of a low score count as pairs too; "
            findings.add(FindingCode.LABEL_IGNORED, detail + "leave them out of the file", field=name)
        else:
            findings.add(FindingCode.IGNORED_FIELD, f"{name!r} stands in {rows:,} rows and is not read", field=name)
    return found.with_findings(findings.found(), ignored_fields=dict(ignored))


def audit_pairs(
    read: Callable[[], Numbered],
    *,
    held_out: PairKeys | None = None,
    counter: TokenCounter | None = None,
    watch: AuditWatch = UNWATCHED,
) -> Audit:
    """The audit of pairs that `read` gives, with their lines, as often as it is called.

    Raises:
        Stopped: the watch asked to stop.
    """
    findings, reading = Findings(), _Reading(watch)
    keys = reading.anchors_and_positives(read(), findings)
    num_duplicates = keys.find_duplicates(findings)
    _judge_size(len(keys), num_duplicates, findings=findings)
    overlap = None if held_out is None else keys.overlap(held_out, findings)
    structure, relation = keys.structure(), keys.relation()
    del keys  # 28 bytes a pair
    if reading.num_negatives:
        relation.conflicts(reading.negatives(read(), findings), findings)
    sides = {Side.QUERY: reading.queries.texts, Side.DOCUMENT: reading.documents.texts}
    near = {side: find_near_duplicates(texts, findings, stop=watch.stop_requested) for side, texts in sides.items()}
    lengths = None if counter is None else _lengths(counter, sides, findings=findings, stop=watch.stop_requested)
    stop_if(watch)
    return Audit(
        pairs=reading.num_pairs,
        negatives=reading.num_negatives,
        ignored_fields={},
        findings=findings.found(),
        structure=structure,
        sample={"queries": _told(reading.queries), "documents": _told(reading.documents)},
        near_duplicates={"threshold": THRESHOLD, "queries": near[Side.QUERY], "documents": near[Side.DOCUMENT]},
        lengths=lengths,
        held_out=overlap,
    )


def list_keys(pairs: Numbered) -> PairKeys:
    """The keys of these pairs, as an overlap is looked for in."""
    keys = PairKeys()
    for line, pair in pairs:
        keys.add(pair, line=line, anchor=text_digest(pair.anchor), positive=text_digest(pair.positive))
    return keys


def stop_if(watch: AuditWatch) -> None:
    """Raise `Stopped` if the watch asks for it."""
    if watch.stop_requested():
        raise Stopped("stopped while the pairs were audited")


class _Reading:
    """One reading of anchors and positives, one of negatives; samples of the texts of both sides are kept."""

    def __init__(self, watch: AuditWatch) -> None:
        self.num_pairs = self.num_negatives = 0
        self.queries, self.documents = (
            TextSample(max_texts=MAX_TEXTS, max_characters=_MAX_CHARACTERS, seed=_SEED) for _ in range(2)
        )
        self._watch = watch
        self._done = 0

    def anchors_and_positives(self, pairs: Numbered, findings: Findings) -> PairKeys:
        """The keys of all pairs; those that answer themselves are findings."""
        keys = PairKeys()
        for line, pair in self._watched(pairs):
            anchor, positive = text_digest(pair.anchor), text_digest(pair.positive)
            keys.add(pair, line=line, anchor=anchor, positive=positive)
            if anchor == positive and is_own_answer(pair):
                detail = "the positive is the query itself, which teaches nothing; give it an answer or leave it out"
                findings.add(FindingCode.QUERY_EQUALS_POSITIVE, detail, line=line, field="positive")
            self.queries.add(anchor, pair.anchor, line=line, field="anchor")
            self.documents.add(positive, pair.positive, line=line, field="positive")
            self.num_negatives += len(pair.negatives)
        self.num_pairs = len(keys)
        return keys

    def negatives(self, pairs: Numbered, findings: Findings) -> Iterator[tuple[int, int, int, str]]:
        """Anchor's digest, own digest, line and field of every negative; those that are the query are findings."""
        for line, pair in self._watched(pairs):
            anchor = text_digest(pair.anchor) if pair.negatives else 0
            for place, text in enumerate(pair.negatives):
                own, field = text_digest(text), f"negatives[{place}]"
                self.documents.add(own, text, line=line, field=field)
                if own == anchor:
                    detail = f"{field} is the query itself; take it out"
                    findings.add(FindingCode.QUERY_AMONG_NEGATIVES, detail, line=line, field=field)
                yield anchor, own, line, field

    def _watched(self, pairs: Numbered) -> Numbered:
        for line, pair in pairs:
            self._done += 1
            if self._done % _PAIRS_BETWEEN == 0:
                self._watch.audited(self._done)
                stop_if(self._watch)
            yield line, pair


def _judge_size(num_pairs: int, num_duplicates: int, *, findings: Findings) -> None:
    """What can hardly teach anything is a finding: one pair alone, or copies of a few."""
    different = num_pairs - num_duplicates
    if different < 2:
        detail = f"there is {different} different pair in {num_pairs:,}; at least 2 are needed, hundreds are usual"
        findings.add(FindingCode.DEGENERATE_DATASET, detail)
    elif different < num_pairs / 2:
        detail = f"{num_duplicates:,} of {num_pairs:,} pairs are copies; {different:,} different ones are left"
        findings.add(FindingCode.DEGENERATE_DATASET, detail)
    elif findings.count(FindingCode.QUERY_EQUALS_POSITIVE) > num_pairs / 2:
        detail = (
            f"in {findings.count(FindingCode.QUERY_EQUALS_POSITIVE):,} of {num_pairs:,} pairs the positive is the query"
        )
        findings.add(FindingCode.DEGENERATE_DATASET, detail)


def _lengths(
    counter: TokenCounter, sides: Mapping[Side, Sequence[SampledText]], *, findings: Findings, stop: Callable[[], bool]
) -> dict[str, Any]:
    query, document = (
        length_picture(counter, texts, side=side, findings=findings, stop=stop) for side, texts in sides.items()
    )
    return {"model": counter.name, "max_length": counter.max_length, "queries": query, "documents": document}


def _told(sample: TextSample) -> dict[str, Any]:
    return {"texts": len(sample.texts), "share": sample.share}
