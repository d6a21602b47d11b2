"""The commands that need no server: `infonce plot` draws, `infonce bench` measures.

A user's mistake ends with one sentence on stderr and exit code 1. Torch and matplotlib are loaded by the command that
needs them, so that `infonce --help` takes no second.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from infonce.errors import InfonceError
from infonce.sentences import sentences

plot_app = typer.Typer(help="Draw pictures of the loss.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON; draw only if --output is given.")]


@plot_app.command("loss-surface")
def plot_loss_surface(
    temperature: Annotated[float, typer.Option(help="What similarities are divided by; 0.005 to 10.")] = 0.1,
    output: Annotated[Path | None, typer.Option(help="The PNG; loss-surface.png if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Of the samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw the loss of samples whose means come nearer: positives by α, negatives by β."""
    path = _picture_path(output, default="loss-surface.png", as_json=as_json)
    with sentences(), _busy("Computing the loss surface"):
        from infonce.plots import check_picture_path, draw_loss_surface, loss_surface

        if path is not None:
            check_picture_path(path)
        surface = loss_surface(temperature=temperature, seed=seed)
        if path is not None:
            draw_loss_surface(surface, path)
        _report(surface.to_dict(), path, as_json=as_json)


@plot_app.command("temperature")
def plot_temperature(
    output: Annotated[Path | None, typer.Option(help="The PNG; temperature.png if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw which negatives the gradient reaches at which temperature."""
    path = _picture_path(output, default="temperature.png", as_json=as_json)
    with sentences(), _busy("Computing gradients"):
        from infonce.plots import check_picture_path, draw_temperature_effect, temperature_effect

        if path is not None:
            check_picture_path(path)
        effect = temperature_effect()
        if path is not None:
            draw_temperature_effect(effect, path)
        _report(effect.to_dict(), path, as_json=as_json)


@bench_app.command("loss")
def bench_loss(
    batch: Annotated[
        list[int] | None, typer.Option(min=2, max=131_072, help="A batch size, may be repeated; 1,024 to 65,536.")
    ] = None,
    dimensions: Annotated[int, typer.Option(min=1, max=65_536, help="Of the vectors.")] = 384,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Of how many the median is taken.")] = 3,
    memory_limit_gb: Annotated[float, typer.Option(min=0.0, help="A dense loss beyond it is left out.")] = 8.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each batch size.")] = False,
) -> None:
    """Measure time and memory of the loss in tiles and as a whole matrix, forward and backward."""
    with sentences(), _busy("Measuring") as say:
        if sys.platform != "linux":
            raise InfonceError("memory is read from /proc, which only Linux has; run it there")
        from infonce.bench.loss_memory import BATCHES, measure

        batches, rows = batch or BATCHES, []
        for row in measure(batches, dimensions=dimensions, rounds=rounds, memory_limit_gb=memory_limit_gb):
            rows.append(asdict(row))
            say(f"Measured {len(rows)} of {len(batches)} batch sizes")
            if as_json:
                print(json.dumps(rows[-1]), flush=True)
    if not as_json:
        Console().print(_loss_table(rows))


@bench_app.command("gradcache")
def bench_gradcache(
    batch: Annotated[int, typer.Option(min=2, max=1 << 16, help="Pairs in the batch.")] = 256,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Replayed where a chunk is encoded twice.")] = 0.1,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="The median of so many counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")] = False,
) -> None:
    """Measure a step of MiniLM with all, some and no graphs kept, against the undivided step."""
    with sentences(), _busy("Measuring a step") as say:
        from infonce.bench.gradcache import Setting, measure

        rows = list(measure(Setting(batch_size=batch, dropout=dropout), rounds=rounds, on_round=say))
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
        return
    table = _numbers("graphs", "seconds", "× plain", "peak GB", "× plain")
    for row in rows:
        ratios = f"{row.time_ratio:.2f}", f"{row.peak_gb:.2f}", f"{row.peak_ratio:.2f}"
        table.add_row(row.form, f"{row.seconds:.2f}", *ratios)
    Console().print(table)


def _numbers(*names: str) -> Table:
    """An empty table of numbers under these names."""
    table = Table(box=SIMPLE_HEAD)
    for name in names:
        table.add_column(name, justify="right")
    return table


def _loss_table(rows: Sequence[Mapping[str, float | None]]) -> Table:
    """A line for each batch size; a MB is 10⁶ bytes."""
    table = _numbers("batch", "tiled s", "tiled MB", "dense s", "dense MB", "tiled / dense time")
    for row in rows:
        tiled, dense = row["tiled_seconds"], row["dense_seconds"]
        ratio = tiled / dense if tiled and dense else None
        megabytes = [None if (size := row[name]) is None else size / 1e6 for name in ("tiled_bytes", "dense_bytes")]
        times = [_cell(tiled, ".3f"), _cell(megabytes[0], ",.1f"), _cell(dense, ".3f"), _cell(megabytes[1], ",.1f")]
        table.add_row(_cell(row["batch"], ","), *times, _cell(ratio, ".2f"))
    return table


def _cell(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


@contextmanager
def _busy(what: str) -> Iterator[Callable[[str], None]]:
    """A terminal shows on stderr what is going on, loading torch included; the yielded function says it anew."""
    with Console(stderr=True).status(f"{what} …") as status:
        yield lambda text: status.update(f"{text} …")


def _picture_path(output: Path | None, *, default: str, as_json: bool) -> Path | None:
    """Where to draw: nowhere if only numbers were asked for."""
    return output if output is not None or as_json else Path(default)


def _report(numbers: Mapping[str, Any], path: Path | None, *, as_json: bool) -> None:
    line = json.dumps({**numbers, "output": None if path is None else str(path)}) if as_json else f"{path} is drawn."
    print(line, flush=True)
