"""What the commands of `infonce bench` share: their options, and how a report is kept and shown."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infonce.bench.report import Report

_WIDE = 200

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")]
Output = Annotated[Path | None, typer.Option(help="A folder for table, numbers and picture: .md, .json and .png.")]
Model = Annotated[str, typer.Option(help="A name, or a folder.")]
Rounds = Annotated[int, typer.Option(min=1, max=1_000, help="Of how many the median is taken; all take turns.")]
MaxLength = Annotated[int, typer.Option(min=4, max=32_768, help="Tokens of a text that are read.")]
Seed = Annotated[int, typer.Option(min=0, max=2**53, help="Of what is drawn.")]


def prepare(output: Path | None) -> None:
    """The folder is there before an hour is spent, and nothing that is loaded looks at the network."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        from infonce.pictures import figure_of

        figure_of(1.0, 1.0)  # matplotlib is there as well
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def last_of(reports: Iterable["Report"], output: Path | None) -> "Report":
    """The last of the reports; each was saved as soon as it was known, so that a run broken off leaves its rounds."""
    last = None
    for last in reports:
        if output is not None:
            last.save(output)
    assert last is not None, "every benchmark reports"
    return last


def show(report: "Report", *, as_json: bool) -> None:
    """Stdout has the tables, or a JSON object for each of their rows."""
    if as_json:
        print("\n".join(report.lines()), flush=True)
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file has room for every column
        console = Console(width=_WIDE)
    for table in report.tables:
        console.print(table.rich())
    for note in report.notes:
        console.print(note, highlight=False)
