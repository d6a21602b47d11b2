"""What the loss costs in tiles and as a whole matrix: seconds and memory, forward and backward, on this processor.

Reads the peak from /proc and so runs on Linux only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import torch
import torch.nn.functional as F

from infonce.bench.processes import in_fresh_process
from infonce.bench.report import Bars, Column, Numbers, Report
from infonce.loss_config import LossConfig
from infonce.losses import info_nce
from infonce.peak_memory import peak_memory_bytes
from infonce.tiled import DEFAULT_SIDE

BATCHES: Final = tuple(2**power for power in range(10, 17))
_FLOATS_PER_LOGIT = 4  # of dense: what the symmetric form was measured to need at 8,192 and 16,384
_LEAST_SECONDS = 2.0  # of timing a batch: a small one takes many turns

_COLUMNS: Final = (
    Column(heading="batch", key="batch", form=","),
    Column(heading="tiled s", key="tiled_seconds", form=".3f"),
    Column(heading="tiled MB", key="tiled_mb", form=",.1f"),
    Column(heading="dense s", key="dense_seconds", form=".3f"),
    Column(heading="dense MB", key="dense_mb", form=",.1f"),
    Column(heading="tiled / dense time", key="time_ratio", form=".2f"),
)
_BARS: Final = (
    Bars(title="in tiles, s", key="tiled_seconds", form=".3f", is_log=True),
    Bars(title="whole matrix, s", key="dense_seconds", form=".3f", is_log=True),
    Bars(title="in tiles, MB", key="tiled_mb", form=",.0f", is_log=True),
    Bars(title="whole matrix, MB", key="dense_mb", form=",.0f", is_log=True),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Medians of one batch size; the dense form's are absent where it would not fit."""

    batch: int
    tiled_seconds: float
    tiled_bytes: int
    dense_seconds: float | None
    dense_bytes: int | None


def measure(
    batches: Sequence[int] = BATCHES, *, dimensions: int = 384, rounds: int = 3, memory_limit_gb: float = 16.0
) -> Iterator[Row]:
    """Each batch size's row as soon as it is known.

    The symmetric loss of random unit vectors in float32 at a temperature of 0.05. Memory is what the peak grows by in
    a process of its own: the gradients are counted, the vectors are not. For the seconds the two forms take turns,
    `rounds` times or more, so that whatever else runs on the machine slows both.
    """
    for batch in batches:
        fits = dense_bytes(batch, dimensions) <= memory_limit_gb * 1e9
        forms = (DEFAULT_SIDE, 0) if fits else (DEFAULT_SIDE,)
        added = [in_fresh_process(added_bytes, batch, dimensions, tile_size=form) for form in forms]
        seconds = in_fresh_process(median_seconds, batch, dimensions, forms=forms, rounds=rounds)
        yield Row(
            batch=batch,
            tiled_seconds=seconds[0],
            tiled_bytes=added[0],
            dense_seconds=seconds[1] if fits else None,
            dense_bytes=added[1] if fits else None,
        )


def report_of(rows: Sequence[Row], *, dimensions: int, rounds: int) -> Report:
    """The rows as tables and picture."""
    shown = [{**asdict(row), "name": f"{row.batch:,}", **_derived(row)} for row in rows]
    return Report(
        name="loss",
        tables=[Numbers(title="", columns=_COLUMNS, rows=shown)],
        bars=_BARS,
        setting={"dimensions": dimensions, "rounds": rounds},
        notes=["Symmetric InfoNCE, forward and backward; memory is what the peak grows by, a MB is 10⁶ bytes."],
    )


def _derived(row: Row) -> dict[str, float | None]:
    dense = row.dense_bytes
    return {
        "tiled_mb": row.tiled_bytes / 1e6,
        "dense_mb": None if dense is None else dense / 1e6,
        "time_ratio": None if row.dense_seconds is None else row.tiled_seconds / row.dense_seconds,
    }


def dense_bytes(batch: int, dimensions: int) -> int:
    """What the dense form will add to the peak, in float32: its matrices and the two gradients."""
    return 4 * (_FLOATS_PER_LOGIT * batch**2 + 2 * batch * dimensions)


def added_bytes(batch: int, dimensions: int, *, tile_size: int) -> int:
    """What the first step, forward and backward, adds to the peak of this process."""
    step = _Step(batch, dimensions)
    _Step(64, dimensions).seconds(tile_size=tile_size and 64)  # threads and libraries are up
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts again at what is resident now
    before = peak_memory_bytes()
    step.seconds(tile_size=tile_size)
    return peak_memory_bytes() - before


def median_seconds(batch: int, dimensions: int, *, forms: Sequence[int], rounds: int) -> list[float]:
    """The median time of a step for each tile size, taken in turns after one that does not count."""
    step = _Step(batch, dimensions)
    times: list[list[float]] = []
    began = perf_counter()
    while len(times) <= rounds or perf_counter() - began < _LEAST_SECONDS:
        times.append([step.seconds(tile_size=form) for form in forms])
    return [median(column) for column in zip(*times[1:], strict=True)]


class _Step:
    """A batch of random unit vectors, the same each time."""

    def __init__(self, batch: int, dimensions: int) -> None:
        generator = torch.Generator().manual_seed(0)
        vectors = F.normalize(torch.randn(2, batch, dimensions, generator=generator), dim=-1)
        self._anchors, self._positives = (part.requires_grad_() for part in vectors)

    def seconds(self, *, tile_size: int) -> float:
        """How long forward and backward take."""
        self._anchors.grad = self._positives.grad = None
        config = LossConfig(temperature=0.05, tile_size=tile_size)
        began = perf_counter()
        info_nce(self._anchors, self._positives, config=config).backward()  # type: ignore[no-untyped-call]
        return perf_counter() - began
