"""How the demo looks in a terminal of 80 to 100 columns: numbered steps, one progress bar, two tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from service.schemas.collections import Hit
from service.schemas.job_answers import JobNews

WIDEST: Final = 100
SHOWN_METRICS: Final = ("ndcg@10", "mrr@10", "recall@1", "recall@5", "recall@10")
_LABEL = 12  # columns of a step's number and name
_BESIDE_NAME = 10  # columns of a hit's score, mark and margins
_COLOURS = {"better": "green", "worse": "red", "inconclusive": "yellow"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """What one held-out query found before and after; ranks are counted from 1, None is beyond the hits."""

    query: str
    answer: str
    before: Sequence[Hit]
    after: Sequence[Hit]

    @property
    def rank_before(self) -> int | None:
        """Where the base model had the right answer."""
        return _rank(self.before, self.answer)

    @property
    def rank_after(self) -> int | None:
        """Where the tuned model has the right answer."""
        return _rank(self.after, self.answer)

    @property
    def gain(self) -> float:
        """The change of the reciprocal rank."""
        before, after = self.rank_before, self.rank_after
        return (1 / after if after else 0.0) - (1 / before if before else 0.0)


class View:
    """Writes the demo's lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._console.width = min(self._console.width, WIDEST)

    def title(self, text: str, note: str) -> None:
        """The first line, and what is going to happen."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]\n[dim]{escape(note)}[/dim]\n")

    def step(self, number: int, name: str, *, text: str, note: str = "") -> None:
        """A finished step: its number and name in a column of their own, what came out, and a fainter line."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=_LABEL)
        grid.add_column()
        label = f"[bold cyan]{number}[/bold cyan] [bold]{name}[/bold]" if number else ""
        body = Text(text)  # docstrings, names and paths, in which brackets and colons are no markup
        if note:
            body.append(f"\n{note}", style="dim")
        grid.add_row(label, body)
        self._console.print(grid)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner turns while something without a measure goes on."""
        with self._console.status(f"[dim]{escape(text)}[/dim]"):
            yield

    @contextmanager
    def job(self) -> Iterator["JobBar"]:
        """A bar for one job after another."""
        columns = (
            TextColumn(" " * (_LABEL - 1)),
            SpinnerColumn(),
            TextColumn("{task.fields[phase]:<10}"),
            BarColumn(bar_width=22),
            TextColumn("[dim]{task.fields[numbers]}[/dim]"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            yield JobBar(progress)

    def metrics(self, evaluation: Mapping[str, Any]) -> None:
        """Base against tuned, the interval of the difference, and the verdict."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("", "base", "tuned", "change"):
            table.add_column(heading, justify="left" if not heading else "right")
        for metric in SHOWN_METRICS:
            base, tuned = evaluation["base"][metric], evaluation["tuned"][metric]
            table.add_row(metric, f"{base:.3f}", f"[bold]{tuned:.3f}[/bold]", f"{tuned - base:+.3f}")
        self._indented(table)
        found = evaluation["comparison"]
        interval = f"95 % interval {found['low']:+.3f} to {found['high']:+.3f} (paired bootstrap)"
        self._indented(Text(f"{found['metric']} {found['delta']:+.3f}, {interval}"))
        counts = f"{found['wins']:,} better, {found['losses']:,} worse, {found['ties']:,} the same"
        self._indented(Text(f"of {found['num_queries']:,} queries {counts}"))
        colour = _COLOURS[found["verdict"]]
        self._indented(f"verdict: [bold {colour}]{found['verdict']}[/bold {colour}]")
        self.blank()

    def neighbours(self, shown: Neighbours) -> None:
        """Both hit lists side by side, the right answer marked."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
        moved = f"right answer: rank {_ordinal(shown.rank_before)} → {_ordinal(shown.rank_after)}"
        self._indented(Text(f"“{shown.query}”", style="bold", overflow="fold"))
        self._indented(Text(moved, style="dim"))
        for heading in ("before: base model", "after: tuned model"):
            table.add_column(heading, ratio=1, no_wrap=True, overflow="ellipsis")
        width = (self._console.width - _LABEL) // 2 - _BESIDE_NAME
        for before, after in zip(shown.before[:3], shown.after[:3], strict=False):
            table.add_row(*(_hit(hit, shown.answer, width=width) for hit in (before, after)))
        self._indented(table)

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def line(self, text: str) -> None:
        """A line of its own."""
        self._console.print(Text(text), soft_wrap=True)

    def _indented(self, what: RenderableType) -> None:
        self._console.print(Padding(what, (0, 0, 0, _LABEL + 1)))


class JobBar:
    """Follows a job: phase, bar, and the numbers that its worker reports."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, phase="waiting", numbers="")

    def show(self, job: JobNews) -> None:
        """The bar is where the job is."""
        at = job.progress
        counted = at.step is not None
        self._progress.update(
            self._task,
            total=at.total_steps if counted else None,
            completed=at.step or 0,
            phase=job.phase,
            numbers=_numbers(job) if counted else "",
        )


def duration(seconds: float) -> str:
    """Seconds as a person reads them, in one word that no line break splits."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    return f"{round(seconds) // 60}m{round(seconds) % 60:02d}s"


def _numbers(job: JobNews) -> str:
    at = job.progress
    parts = [f"{at.step}/{at.total_steps}"]
    if at.loss is not None:
        parts.append(f"loss {at.loss:.3f}")
    if at.pairs_per_second is not None:
        parts.append(f"{at.pairs_per_second:.1f} pairs/s")
    if at.eta_seconds is not None:
        parts.append(f"{duration(at.eta_seconds)} left")
    return " · ".join(parts)


def _hit(hit: Hit, answer: str, *, width: int) -> Text:
    """Score, mark and name, which is cut at its beginning: the end of a qualified name says more."""
    right = hit.id == answer
    name = hit.id if len(hit.id) <= width else "…" + hit.id[-width + 1 :]
    return Text(f"{hit.score:.2f} {'✓' if right else ' '} {name}", style="bold green" if right else "")


def _rank(hits: Sequence[Hit], answer: str) -> int | None:
    return next((place for place, hit in enumerate(hits, start=1) if hit.id == answer), None)


def _ordinal(rank: int | None) -> str:
    return "—" if rank is None else str(rank)
