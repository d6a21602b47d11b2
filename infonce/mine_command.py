"""`infonce mine`: a file of pairs becomes one with hard negatives, here and without a server."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from infonce.config import EncoderConfig
from infonce.dialects import FieldMapping
from infonce.errors import ConfigError, Stopped
from infonce.hub import Hub
from infonce.limits import member
from infonce.mining_config import MiningConfig, Retriever, Sampling
from infonce.sentences import INTERRUPTED, sentences
from infonce.training_options import Mapped

if TYPE_CHECKING:
    from infonce.mine_file import MinedFile

mine_app = typer.Typer()
_NO_MARGIN = "none"


@mine_app.command(rich_help_panel=WITHOUT_SERVER)
def mine(
    pairs: Annotated[Path, typer.Argument(help="Pairs, in any format that a training reads.")],
    model: Annotated[str, typer.Option(help="Whose similarity counts: a name, or a folder.")],
    output: Annotated[Path, typer.Option(help="The new file: the same pairs with negatives and their scores.")],
    corpus: Annotated[
        Path | None, typer.Option(help="Documents, one a line: text, title; else the pairs' own.")
    ] = None,
    per_query: Annotated[int, typer.Option(help="Negatives for each query.")] = 5,
    window: Annotated[
        tuple[int, int], typer.Option("--range", help="The ranks to skip, and the last one to look at.")
    ] = (10, 100),
    relative_margin: Annotated[
        str, typer.Option(help=f"How far below the positive, as a share of its score, or {_NO_MARGIN}.")
    ] = "0.05",
    absolute_margin: Annotated[float | None, typer.Option(help="How far below the positive's score.")] = None,
    max_score: Annotated[float | None, typer.Option(help="No negative scores above it.")] = None,
    retriever: Annotated[str, typer.Option(help="dense, bm25 or both.")] = Retriever.DENSE.value,
    sampling: Annotated[str, typer.Option(help="top or random.")] = Sampling.TOP.value,
    seed: Annotated[int, typer.Option(help="Of random sampling.")] = 0,
    mapping: Mapped = None,
    max_length: MaxLength = None,
    precision: Precision = DEFAULT_PRECISION,
    cache: Cache = Path(DEFAULT_CACHE),
    as_json: AsJson = False,
) -> None:
    """Find hard negatives for a file of pairs: texts that look like an answer and are none."""
    with sentences():
        config = MiningConfig(
            per_query=per_query,
            range=window,
            relative_margin=_margin(relative_margin),
            absolute_margin=absolute_margin,
            max_score=max_score,
            retriever=member(Retriever, "retriever", value=retriever),
            sampling=member(Sampling, "sampling", value=sampling),
            seed=seed,
        )
        how = precision_of(precision)
        folder = Hub.from_env(os.environ).folder(model)
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        with busy("Loading"):
            from infonce.mine_file import MineOrder, mine_file
            from infonce.terminal import watching

        order = MineOrder(
            pairs=pairs,
            model=folder,
            model_name=Path(model).name if folder == Path(model) else model,
            output=output,
            vectors=cache.expanduser(),
            mapping=None if mapping is None else FieldMapping.from_json(mapping),
            corpus=corpus,
            config=config,
            encoder=EncoderConfig(max_seq_length=max_length),
            precision=how,
        )
        try:
            with watching() as watch:
                mined = mine_file(order, watch)
        except Stopped:
            print("infonce: stopped; the same command goes on with the vectors it has", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
    print(json.dumps({"output": str(output), **mined.to_dict()}) if as_json else _told(mined, output), flush=True)


def _margin(text: str) -> float | None:
    if text == _NO_MARGIN:
        return None
    try:
        return float(text)
    except ValueError:
        message = f"relative_margin is {text!r}; it must be a number such as 0.05, or {_NO_MARGIN}"
        raise ConfigError(message, param="relative_margin") from None


def _told(mined: "MinedFile", output: Path) -> str:
    """What a person wants to know of it."""
    counts, seconds = mined.mining.counts, mined.mining.seconds
    dropped = counts.dropped
    beside = seconds.searching + seconds.filtering + seconds.sampling
    within = dropped.within_absolute_margin + dropped.within_relative_margin
    lines = [
        f"{counts.queries:,} queries, {counts.documents:,} documents: {counts.mined:,} negatives were mined.",
        f"{counts.queries_with_fewer:,} queries have fewer than wanted, {counts.queries_without:,} have none.",
        f"Of {counts.candidates:,} candidates left out: {within:,} too near to the positive, "
        f"{dropped.over_max_score:,} above max_score, {dropped.near_duplicates:,} near-duplicates of a positive.",
        f"Embedding took {seconds.embedding:.1f} s, everything else {beside:.1f} s.",
        f"The pairs are in {output} (sha256 {mined.sha256}).",
    ]
    if counts.conflicting_negatives:
        lines.insert(2, f"{counts.conflicting_negatives:,} given negatives are positives of their query: left out.")
    return "\n".join(lines)
