"""`infonce train`: a fine-tuning at the command line, with a progress bar, and with one JSON object for programs."""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from infonce.config import AUTO, EncoderConfig, TrainConfig
from infonce.errors import ConfigError, Stopped
from infonce.hub import Hub
from infonce.loss_config import LossConfig
from infonce.meeting import wanted_processes
from infonce.sentences import sentences

if TYPE_CHECKING:
    from infonce.precision import Choice
    from infonce.records import StepRecord
    from infonce.tuning import Tuned

train_app = typer.Typer()
INTERRUPTED = 130
METRIC = "ndcg@10"


@train_app.command()
def train(
    pairs: Annotated[Path, typer.Argument(help="Pairs, one JSON object a line: anchor, positive, negatives.")],
    model: Annotated[str, typer.Option(help="The base model: a name, or a folder.")],
    output: Annotated[Path, typer.Option(help="The folder of the tuned model; a broken off run in it goes on.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the pairs; chosen if left out.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step; chosen if left out.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak; chosen if left out.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a text that are read; 256 or the model's.")] = None,
    seed: Annotated[int, typer.Option(help="Of order, split and dropout.")] = 42,
    held_out: Annotated[float, typer.Option(help="The share of pairs to judge by; 0 for no evaluation.")] = 0.1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting of TrainConfig or LossConfig, as NAME=JSON.")
    ] = None,
    save_every: Annotated[float, typer.Option(min=0.0, help="Seconds between two checkpoints.")] = 120.0,
    processes: Annotated[str, typer.Option(help="That train together: auto is one a GPU, else one.")] = AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line: a JSON object.")] = False,
) -> None:
    """Fine-tune a model on a file of pairs, here and without a server."""
    given = {"n_epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    with sentences():
        named = {name: AUTO if value is None else value for name, value in given.items()} | {"seed": seed}
        config = _config(named, settings or [])
        folder = _folder(model)
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        from infonce.tuning import Order, tune

        order = Order(
            pairs=pairs,
            model=folder,
            output=output,
            config=config,
            encoder=EncoderConfig(max_seq_length=max_length),
            held_out=held_out,
            save_every_seconds=save_every,
            processes=wanted_processes("processes", processes),
        )
        try:
            with _watching() as watch:
                tuned = tune(order, watch)
        except Stopped:
            print(f"infonce: stopped; the same command goes on from {output}", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps({**tuned.to_dict(), "peak_memory_bytes": peak_memory_bytes()}), flush=True)
    else:
        _print(tuned, output)


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.is_file():  # elsewhere it is counted from the start of whoever started this process
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _config(named: Mapping[str, Any], settings: list[str]) -> TrainConfig:
    """The config of the options; a setting of the loss may be named like one of the training."""
    values: dict[str, Any] = {**named, "loss": {}}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} has no '='; write NAME=VALUE", param=name)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        place = values["loss"] if name in LossConfig.__dataclass_fields__ else values
        place[name] = value
    return TrainConfig.from_dict(values)


def _folder(model: str) -> Path:
    """The base model's folder: the named one, or what the hub's places know by the name."""
    if (Path(model) / "config.json").is_file():
        return Path(model)
    hub = Hub.from_env(os.environ)
    if hub.may_fetch(model) and model not in hub.known():
        return hub.fetch(model).path
    return hub.resolve(model).path


@contextmanager
def _watching() -> Iterator["_Watch"]:
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
            yield _Watch(bar, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watch:
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

    def step(self, record: "StepRecord") -> None:
        """The bar is that far."""
        said = f"{record.step:,} of {record.total_steps:,} steps · loss {record.loss:.3f} · "
        said += f"{record.pairs_per_second:.1f} pairs/s"
        self._bar.update(self._task, completed=record.step, total=record.total_steps, said=said)

    def measured(self, choice: "Choice") -> None:
        """What was chosen is said."""
        self._say(f"computing in {choice.precision.value} with {choice.attention.value} attention")

    def resumed(self, step: int) -> None:
        """What was made before is said."""
        self._say(f"going on after the {step} steps that were made before")

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        """What is left out is said."""
        reason = "the model's tokenizer makes nothing of a text of theirs"
        self._say(f"left out are {num_pairs} pairs and {num_negatives} negatives: {reason}")

    def judged(self, step: int, metrics: Mapping[str, float]) -> None:
        """How good the model is by now is said."""
        self._say(f"after {step} steps {METRIC} is {metrics[METRIC]:.3f}")
        self._bar.update(self._task, description="training")

    def unsaved(self, reason: str) -> None:
        """The trouble is said."""
        self._say(f"a checkpoint could not be written ({reason}); the training goes on and tries again")

    def stop_requested(self) -> bool:
        """Whether the process was told to end."""
        return self._stop.is_set()

    def _say(self, sentence: str) -> None:
        self._bar.console.print(sentence, highlight=False)


def _print(tuned: "Tuned", output: Path) -> None:
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
    console.print(f"The model is in {output}, with report.json beside its weights (sha256 {tuned.weights_sha256}).")
