"""`infonce audit`: what is wrong with a file of pairs, before an hour is spent on it; here and without a server."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infonce import config
from infonce.busy import busy
from infonce.command_options import (
    DEFAULT_CACHE,
    DEFAULT_PRECISION,
    WITHOUT_SERVER,
    AsJson,
    Cache,
    MaxLength,
    Precision,
    precision_of,
)
from infonce.dialects import FieldMapping
from infonce.errors import ConfigError, DatasetError
from infonce.hub import MINILM, Hub
from infonce.pairs import Pair
from infonce.sentences import FAILED, sentences

if TYPE_CHECKING:
    from infonce.audit import Audit

audit_app = typer.Typer()


@audit_app.command(rich_help_panel=WITHOUT_SERVER)
def audit(
    pairs: Annotated[Path, typer.Argument(help="Pairs, in any format that a training reads.")],
    held_out: Annotated[Path | None, typer.Option(help="Pairs that are judged by: is one of them trained on?")] = None,
    cleaned: Annotated[Path | None, typer.Option(help="Write a new file without copies and conflicts.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Score the negatives with this model, a name or a folder; takes a minute.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help=f"Whose tokens are counted; the model's, else {MINILM}'s.")
    ] = None,
    mapping: Annotated[
        str | None, typer.Option(help='Fields of odd names: {"anchor": "q", "positive": "a", "negatives": ["n"]}.')
    ] = None,
    max_length: MaxLength = None,
    precision: Precision = DEFAULT_PRECISION,
    cache: Cache = Path(DEFAULT_CACHE),
    as_json: AsJson = False,
) -> None:
    """Look for copies, conflicts, leaks and texts that are cut in a file of pairs, and offer a cleaned one."""
    with sentences():
        from infonce.audit import audit_file
        from infonce.audit_tables import show_audit
        from infonce.cleaning import clean_file
        from infonce.length_picture import TokenCounter

        how = precision_of(precision)
        if model is None and precision != DEFAULT_PRECISION:
            message = f"precision is {precision} and no model is named that would compute in it; name one by --model"
            raise ConfigError(message, param="precision")
        fields = None if mapping is None else FieldMapping.from_json(mapping)
        hub = Hub.from_env(os.environ)
        counted_by = tokenizer or model or (MINILM if MINILM in hub.known() else None)
        counter = None
        if counted_by is not None:
            counter = TokenCounter.of(hub.folder(counted_by), counted_by, max_length=max_length)
        elif max_length is not None:
            message = f"max_length is {max_length} and there is no tokenizer to count with; name one by --tokenizer"
            raise ConfigError(message, param="max_length")
        folder = None if model is None else hub.folder(model)
        try:
            with busy("Auditing"):
                found = audit_file(pairs, mapping=fields, held_out=held_out, counter=counter)
                if folder is not None and found.negatives:
                    scoring = _Scoring(folder=folder, name=str(model), length=max_length, precision=how, cache=cache)
                    found = _scored(found, pairs, fields=fields, scoring=scoring)
                written = None if cleaned is None else clean_file(pairs, cleaned, mapping=fields)
        except DatasetError as error:
            _show_broken(error)
            raise typer.Exit(FAILED) from None
    if as_json:
        told = None if written is None else {"output": str(cleaned), **asdict(written)}
        print(json.dumps({**found.to_dict(), "cleaned": told}), flush=True)
    else:
        show_audit(found)
        if folder is not None and not found.negatives:
            print(f"No pair has negatives, so that {model} scored nothing.", flush=True)
        if written is not None:
            left_out = f"copies: {written.duplicate_pair:,}, pairs whose positive is their query: "
            left_out += f"{written.query_equals_positive:,}, negatives that are positives or the query: "
            left_out += f"{written.conflicting_negatives:,}"
            print(f"{cleaned} has {written.pairs:,} pairs. Left out are {left_out}.", flush=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scoring:
    """What scores the negatives."""

    folder: Path
    name: str
    length: int | None
    precision: config.Precision
    cache: Path


def _scored(found: "Audit", pairs: Path, *, fields: FieldMapping | None, scoring: _Scoring) -> "Audit":
    """The audit, with what the model says of the negatives."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
    from infonce.encoder import Encoder
    from infonce.findings import Findings
    from infonce.formats import opened_pairs
    from infonce.negative_scores import score_negatives
    from infonce.vectors import CachedEncoder

    encoder = Encoder.load(scoring.folder, config.EncoderConfig(max_seq_length=scoring.length))
    source = CachedEncoder.of(
        encoder,
        scoring.cache.expanduser(),
        precision=scoring.precision,
        stop=lambda: False,
        on_block=lambda done, total: None,
    )

    def read() -> Iterator[tuple[int, Pair]]:
        with opened_pairs(pairs, mapping=fields) as reader:
            yield from reader

    findings = Findings()
    scores = score_negatives(source, read, name=scoring.name, findings=findings)
    return found.with_findings(findings.found(), scores=scores)


def _show_broken(error: DatasetError) -> None:
    """Every broken place that is known, one a line, on stderr."""
    for issue in error.issues:
        where = "" if issue.line is None else f"line {issue.line}: "
        print(f"infonce: {where}{issue.detail} [{issue.code}]", file=sys.stderr)
    more = error.num_issues - len(error.issues)
    if more:
        print(f"infonce: {len(error.issues)} shown of {error.num_issues:,}", file=sys.stderr)
    sys.stderr.flush()
