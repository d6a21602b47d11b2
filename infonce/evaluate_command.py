"""`infonce evaluate`: models on judged queries, side by side, here and without a server."""

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
from infonce.errors import Stopped
from infonce.hub import Hub
from infonce.sentences import INTERRUPTED, sentences

if TYPE_CHECKING:
    from infonce.side_by_side import AgainstBase, SideBySide

evaluate_app = typer.Typer()
_MAX_SHOWN = 100  # characters of a text


@evaluate_app.command(rich_help_panel=WITHOUT_SERVER)
def evaluate(
    data: Annotated[Path, typer.Argument(help="Judged queries: a BEIR zip, or a folder with the three files.")],
    model: Annotated[list[str], typer.Option(help="A name, or a folder; may be repeated: the first is the base.")],
    k: Annotated[
        list[int] | None, typer.Option("--k", help="Ranks to measure, may be repeated; 1, 5, 10, 100.")
    ] = None,
    metric: Annotated[str, typer.Option(help="Which decides who is better.")] = "ndcg@10",
    examples: Annotated[int, typer.Option(help="Queries that are shown of wins, losses and ties.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 42,
    max_length: MaxLength = None,
    precision: Precision = DEFAULT_PRECISION,
    cache: Cache = Path(DEFAULT_CACHE),
    as_json: AsJson = False,
) -> None:
    """Measure how well models find what was judged: nDCG, MRR, recall and MAP, and whether the difference is luck."""
    with sentences():
        how = precision_of(precision)
        hub = Hub.from_env(os.environ)
        folders = [(name, hub.folder(name)) for name in model]
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        with busy("Loading"):
            from infonce.qrels import read_beir
            from infonce.side_by_side import DEFAULT_KS, Judging, side_by_side
            from infonce.terminal import watching

        judging = Judging(
            vectors=cache.expanduser(),
            ks=tuple(sorted({*(k or DEFAULT_KS)})),
            metric=metric,
            num_examples=examples,
            seed=seed,
            encoder=EncoderConfig(max_seq_length=max_length),
            precision=how,
        )
        try:
            with watching() as watch:
                watch.phase("reading")
                judged = read_beir(data)
                found = side_by_side(folders, judged, judging=judging, watch=watch)
        except Stopped:
            print("infonce: stopped; the same command goes on with the vectors it has", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(found.to_dict()), flush=True)
    else:
        _show(found)


def _show(found: "SideBySide") -> None:
    """What a person wants to know of it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{found.num_queries:,} queries, {found.num_documents:,} documents")
    table = Table("", box=SIMPLE_HEAD)
    for model in found.models:
        table.add_column(model.name, justify="right", overflow="fold")
    for key in found.models[0].evaluation.metrics:
        table.add_row(key, *(f"{model.evaluation.metrics[key]:.4f}" for model in found.models))
    console.print(table)
    for comparison in found.comparisons:
        console.print("\n".join(_compared(comparison)))


def _compared(found: "AgainstBase") -> list[str]:
    of = found.comparison
    lines = [
        f"{found.tuned} against {found.base}: {of.metric} {of.delta:+.4f}, "
        f"95 % interval {of.low:+.4f} to {of.high:+.4f}, {of.wins:,} wins, {of.losses:,} losses, "
        f"{of.ties:,} ties: {of.verdict.value}",
    ]
    for example in found.examples:
        change = example.change
        lines += [
            f"  {change.outcome.value} {change.base:.3f} → {change.tuned:.3f}: {_short(example.text)}",
            *(f"    relevant     {_short(text)}" for text in example.relevant[:1]),
            f"    base first   {_short(example.base_first)}",
            f"    tuned first  {_short(example.tuned_first)}",
        ]
    return lines


def _short(text: str) -> str:
    """The beginning of a text on one line, without what a terminal would obey."""
    line = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"
