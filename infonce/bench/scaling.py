"""`infonce bench scale`: what a pair costs where there are few and where there are many, over as many steps."""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from infonce.bench.processes import in_fresh_process, tree_bytes
from infonce.bench.report import OURS, Bars, Column, Numbers, Report, Row
from infonce.busy import Busy
from infonce.config import EncoderConfig, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError, Stopped
from infonce.pairs import Pair
from infonce.precision import Choice
from infonce.rank import Silence
from infonce.records import StepRecord
from infonce.train import train

_WORDS: Final = (
    *("red", "green", "blue", "cat", "dog", "bird", "runs"),
    *("eats", "fast", "house", "tree", "under", "with"),
)
_WARM_STEPS: Final = 5  # the first shapes of chunks are slow
_COLUMNS: Final = (
    Column(heading="pairs", key="num_pairs", form=","),
    Column(heading="rounds", key="rounds", form="d"),
    Column(heading="loading s", key="loading_seconds", form=".2f"),
    Column(heading="ms a pair", key="milliseconds", form=".2f"),
    Column(heading="× fewest pairs", key="times_first", form=".3f"),
    Column(heading="peak GB", key="peak_gb", form=".2f"),
)
_BARS: Final = (
    Bars(title="milliseconds a pair", key="milliseconds", form=".2f"),
    Bars(title="loading, s", key="loading_seconds", form=".2f"),
    Bars(title="peak memory, GB", key="peak_gb", form=".2f"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How long and with what is trained."""

    model: Path
    batch_size: int
    steps: int
    seed: int

    def check(self, sizes: Sequence[int]) -> None:
        """Raise `ConfigError` unless every size fills a batch."""
        if min(sizes) < self.batch_size:
            message = f"--sizes has {min(sizes)} and a batch has {self.batch_size} pairs"
            raise ConfigError(f"{message}; raise it or lower --batch-size", param="sizes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one run found."""

    num_steps: int
    loading_seconds: float
    """From the texts in memory to the first step: numbering, tokenising, measuring."""
    milliseconds: float
    """A pair, over the steps after the first few."""
    peak_gb: float


def measure(setting: Setting, sizes: Sequence[int], *, rounds: int, say: Busy) -> Iterator[Report]:
    """What is known after each round, the sizes taken in turn, each run in a fresh process."""
    taken: dict[int, list[Taken]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes[:: -1 if number % 2 else 1]:
            say(f"Round {number + 1} of {rounds}, {size:,} pairs")
            found = in_fresh_process(run, setting, size)
            taken[size].append(found)
            say.note(f"Round {number + 1} of {rounds}, {size:,} pairs: {found.milliseconds:.2f} ms a pair")
        yield _report(setting, taken)


def run(setting: Setting, size: int) -> Taken:
    """So many pairs were trained on for as many steps as asked for."""
    encoder = Encoder.load(setting.model, EncoderConfig(max_seq_length=32))
    pairs = tiny_pairs(size, seed=setting.seed)
    epochs = -(-setting.steps * setting.batch_size // size)
    config = TrainConfig(n_epochs=epochs, batch_size=setting.batch_size, learning_rate=5e-5, seed=setting.seed)
    clock = _Clock(setting.steps)
    began = perf_counter()
    with suppress(Stopped):  # after the steps that were asked for
        train(encoder, pairs, config=config, progress=clock)
    warm = min(_WARM_STEPS, len(clock.ends) - 1)
    seconds = (clock.ends[-1] - clock.ends[warm - 1]) if warm else clock.ends[-1] - clock.measured_at
    return Taken(
        num_steps=len(clock.ends),
        loading_seconds=clock.measured_at - began,
        milliseconds=1e3 * seconds / (len(clock.ends) - warm) / setting.batch_size,
        peak_gb=tree_bytes(os.getpid()) / 1e9,
    )


def tiny_pairs(count: int, *, seed: int) -> list[Pair]:
    """Pairs of a few words, all different, as long in a small set as in a large one."""
    draw = random.Random(seed)
    return [
        Pair(
            f"{' '.join(draw.choices(_WORDS, k=5))} {number:06d}",
            f"{' '.join(draw.choices(_WORDS, k=8))} {number:06d}",
            (),
        )
        for number in range(count)
    ]


class _Clock(Silence):
    """A `Progress` that notes when steps end, and asks to stop after the last."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.measured_at = 0.0
        self.ends: list[float] = []

    def step(self, record: StepRecord) -> None:
        """A step has ended."""
        self.ends.append(perf_counter())

    def measured(self, choice: Choice) -> None:
        """Everything is loaded."""
        self.measured_at = perf_counter()

    def stop_requested(self) -> bool:
        """Whether all steps are done."""
        return len(self.ends) >= self._steps


def _report(setting: Setting, taken: dict[int, list[Taken]]) -> Report:
    rows: list[Row] = []
    for size, found in taken.items():
        costs = [one.milliseconds for one in found]
        rows.append(
            {
                "kind": "scale",
                "side": OURS,
                "name": f"{size:,} pairs",
                "num_pairs": size,
                "num_steps": found[0].num_steps,
                "rounds": len(found),
                "loading_seconds": median(one.loading_seconds for one in found),
                "milliseconds": median(costs),
                "milliseconds_low": min(costs),
                "milliseconds_high": max(costs),
                "peak_gb": median(one.peak_gb for one in found),
            }
        )
    first = rows[0]["milliseconds"]
    return Report(
        name="scale",
        tables=[
            Numbers(
                title="", columns=_COLUMNS, rows=[{**row, "times_first": row["milliseconds"] / first} for row in rows]
            )
        ],
        bars=_BARS,
        setting={
            "model": setting.model.name,
            "batch_size": setting.batch_size,
            "steps": setting.steps,
            "seed": setting.seed,
        },
        notes=[f"A pair's cost is that of the steps after the first {_WARM_STEPS}; loading is timed apart."],
    )
