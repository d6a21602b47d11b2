"""What the commands with a server show: a bar that follows a job, what came of it, and tables."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from infonce.phrases import day, headline, printable, shortened
from service.demo_view import JobBar
from service.schemas.job_answers import FineTuningJob, Job

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_SHOWN = 300  # characters of a text that was found


@contextmanager
def following() -> Iterator[JobBar]:
    """A bar on stderr that follows a job."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[phase]:<10}"),
        BarColumn(bar_width=22),
        TextColumn("[dim]{task.fields[numbers]}[/dim]"),
    )
    with _progress(*columns) as progress:
        yield JobBar(progress)


@contextmanager
def uploading(name: str, num_bytes: int) -> Iterator["Callable[[int], None]"]:
    """A bar on stderr that is told how many bytes more were sent."""
    columns = (TextColumn("uploading {task.description}"), BarColumn(), DownloadColumn())
    with _progress(*columns) as progress:
        task = progress.add_task(printable(name), total=num_bytes)
        yield lambda more: progress.advance(task, more)


def _progress(*columns: ProgressColumn) -> Progress:
    """On stderr, where that is a terminal, and gone afterwards."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def ending_of(job: Job | FineTuningJob) -> str:
    """How the job stands, and what came of it, for a person."""
    if job.error is not None:
        return f"{job.id} has {job.status}: {job.error.message}"
    if isinstance(job, FineTuningJob) and job.status == "succeeded":
        verdict = headline({"summary": job.evaluation})
        return f"{job.fine_tuned_model} is trained ({verdict})"
    wishes = {
        "to cancel": job.cancel_requested,
        "to pause": job.pause_requested,
        "to end and keep its best": job.keep_requested,
    }
    wished = " and ".join(wish for wish, asked in wishes.items() if asked)
    if wished and job.status not in ("cancelled", "paused"):
        return f"{job.id} is {job.status}, phase {job.phase}, and was asked {wished}"
    made = f": {json.dumps(job.result)}" if isinstance(job, Job) and job.result else ""
    return f"{job.id} is {job.status}, phase {job.phase}{made}"


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; what names and texts hold is no markup there."""
    table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable("—" if cell is None else str(cell)), overflow="fold") for cell in row))
    Console(highlight=False).print(table)


def job_row(job: Job) -> tuple[object, ...]:
    """A line of the table of jobs."""
    percent = None if job.progress.percent is None else f"{job.progress.percent:.0f} %"
    return job.id, job.kind, job.status, job.phase, percent, day(job.created_at)


def text_of(text: str | None) -> str:
    """The beginning of a text, on one line."""
    return shortened(printable(" ".join((text or "").split())), _MAX_SHOWN)
