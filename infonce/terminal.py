"""What a terminal shows of long work: a bar while it runs; and what came of a training."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from infonce.groups import Groups
from infonce.peak_memory import peak_memory_bytes
from infonce.precision import Choice
from infonce.records import StepRecord
from infonce.tuning import Tuned


@contextmanager
def watching() -> Iterator["Watch"]:
    """A bar on stderr, and a run that ends at its next chunk when the process is told to end; a second time at once."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heed(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, heed)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    try:
        with bar:
            yield Watch(bar, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """What a terminal shows of a run."""

    def __init__(self, bar: Progress, stop: Event) -> None:
        self._bar = bar
        self._stop = stop
        self._task: TaskID = bar.add_task("starting", total=None, said="")

    def phase(self, name: str) -> None:
        """The bar stands for this part now."""
        self._bar.reset(self._task, description=name, total=None, said="")

    def embedded(self, done: int, total: int) -> None:
        """The bar is that far."""
        self._bar.update(self._task, completed=done, total=total, said=f"{done:,} of {total:,} texts")

    def searched(self, done: int, total: int) -> None:
        """The bar is that far."""
        self._bar.update(self._task, completed=done, total=total, said=f"{done:,} of {total:,} queries")

    def step(self, record: StepRecord) -> None:
        """The bar is that far."""
        said = f"{record.step:,} of {record.total_steps:,} steps · loss {record.loss:.3f} · "
        said += f"{record.pairs_per_second:.1f} pairs/s"
        self._bar.update(self._task, completed=record.step, total=record.total_steps, said=said)

    def measured(self, choice: Choice) -> None:
        """What was chosen is said."""
        self._say(f"computing in {choice.precision.value} with {choice.attention.value} attention")

    def resumed(self, step: int) -> None:
        """What was made before is said."""
        self._say(f"going on after the {step} steps that were made before")

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        """What is left out is said."""
        reason = "the model's tokenizer makes nothing of a text of theirs"
        self._say(f"left out are {num_pairs} pairs and {num_negatives} negatives: {reason}")

    def joined(self, groups: Groups) -> None:
        """What hangs together is said."""
        self._say(str(groups))

    def left_out(self, copies: int, own_answers: int) -> None:
        """What is left out is said."""
        self._say(f"left out are {copies:,} copies of pairs and {own_answers:,} pairs whose positive is their query")

    def mining(self, step: int) -> None:
        """Shown while it lasts."""
        self.phase("mining")

    def mined(self, step: int, counts: Mapping[str, Any]) -> None:
        """A line above the bar."""
        self._say(f"After {step} steps {counts['mined']:,} hard negatives were found.")
        if counts["without_room"]:
            self._say(f"{counts['without_room']:,} times a pair took none of them, for it has max_negatives already.")
        self.phase("training")

    def judged(self, step: int, metric: str, *, metrics: Mapping[str, float]) -> None:
        """How good the model is by now is said."""
        self._say(f"after {step} steps {metric} is {metrics[metric]:.3f}")
        self._bar.update(self._task, description="training")

    def saved(self, step: int) -> None:
        """Nobody at a terminal needs to read that all is well."""

    def damaged(self, step: int) -> None:
        """The trouble is said."""
        self._say(f"the checkpoint of step {step} is damaged; the one before is looked for")

    def elsewhere(self, difference: str) -> None:
        """The warning is said."""
        self._say(f"this is not what the run began on, {difference}; its last bits may differ")

    def halved(self, max_chunk_tokens: int) -> None:
        """The trouble is said."""
        self._say(f"memory did not suffice; the training goes on with {max_chunk_tokens} tokens at once")

    def unsaved(self, reason: str) -> None:
        """The trouble is said."""
        self._say(f"a checkpoint could not be written ({reason}); the training goes on and tries again")

    def stop_requested(self) -> bool:
        """Whether the process was told to end."""
        return self._stop.is_set()

    def _say(self, sentence: str) -> None:
        self._bar.console.print(sentence, highlight=False)


def show(tuned: Tuned, output: Path) -> None:
    """What a person wants to know of it."""
    console = Console()
    trained = tuned.trained
    speed = f"{trained.num_trained / tuned.seconds:.1f} pairs/s, {peak_memory_bytes() / 1e9:.2f} GB at the peak"
    console.print(f"{trained.num_pairs:,} pairs, {len(trained.curve):,} steps in {tuned.seconds:.1f} s: {speed}")
    if tuned.comparison is not None and tuned.before is not None and tuned.after is not None:
        table = Table(box=SIMPLE_HEAD)
        for name in ("", "base", "tuned", "change"):
            table.add_column(name, justify="right")
        for name, base in tuned.before.metrics.items():
            after = tuned.after.metrics[name]
            table.add_row(name, f"{base:.3f}", f"{after:.3f}", f"{after - base:+.3f}")
        console.print(table)
        found = tuned.comparison
        interval = f"{found.metric} {found.delta:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}"
        console.print(f"{interval} on {found.num_queries:,} held-out queries: {found.verdict.value}")
    console.print(
        f"The model is in {output}, with report.html and report.json beside its weights "
        f"(sha256 {tuned.weights_sha256})."
    )
