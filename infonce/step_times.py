"""How long the training takes: some of its steps are computed, and the time of the others follows from their work."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Self

from infonce.rehearsal import Rehearsal, Rehearsed
from infonce.schedule import Schedule

ALLOWED_SECONDS: Final = 20.0
ALLOWED_SHARE: Final = 0.1
"""Of the run: so long an estimate may take, whichever is longer."""

_MOST_STEPS: Final = 6  # after the one that needs most memory
_LEAST_SECONDS: Final = 4.0  # for steps
_FOR_HEAVIEST: Final = 0.7  # of the time that is left
_BYTES_A_SECOND: Final = 50e6  # of weights that are saved, with optimizer and export
_CHANCE: Final = 0.1
"""Of the seconds: what the same run takes more or less a second time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """When the estimate began."""

    began: float

    @property
    def elapsed(self) -> float:
        """Seconds since then."""
        return perf_counter() - self.began


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """What was computed of a run's steps, and what follows from it."""

    steps: Sequence[Rehearsed]
    """The first one is a part, or all, of the step that needs most memory."""
    num_whole: int
    """How many of them are whole steps of the run."""
    work: float
    """Of all steps of the run."""
    num_steps: int
    loss_seconds: float
    """Of a step, where only parts of steps were computed: that of the whole batch."""
    counted_bytes: int
    """Of graphs that the heaviest step has in memory beyond those of the parts that were computed."""

    @classmethod
    def of(cls, rehearsal: Rehearsal, schedule: Schedule, *, clock: Clock, others_seconds: float) -> Self:
        """As many steps were computed as there is time for; `others_seconds` is what the rest of the run takes.

        Raises:
            OutOfMemory, Stopped: as `Rehearsal.step`.
        """
        heaviest, loads = schedule.heaviest, schedule.loads
        size, work, num_steps = len(rehearsal.counting.pairs(heaviest)), schedule.work, len(loads)
        few = max(2, min(size, round(size / loads[heaviest].num_chunks)))
        rehearsal.step(rehearsal.some(heaviest, few))  # not counted: at first sight shapes are compiled
        steps = [rehearsal.step(rehearsal.some(heaviest, few))]
        predicted = others_seconds + _rate(steps) * float(work.sum()) + steps[0].rest_seconds * num_steps
        end = max(ALLOWED_SECONDS, ALLOWED_SHARE * predicted) - _saving_seconds(rehearsal)
        end = max(end, clock.elapsed + _LEAST_SECONDS)  # on a busy machine the start alone may take what is allowed

        def affordable(step: int, share: float) -> int:
            """How many pairs of that step can be computed in this share of the time that is left."""
            left = share * (end - clock.elapsed)
            taken = _rate(steps) * loads[step].work
            whole = len(rehearsal.counting.pairs(step))
            return whole if taken <= left else int(whole * left / taken)

        num_whole = int(few >= size)
        if few < size and (count := affordable(heaviest, _FOR_HEAVIEST)) > few:
            steps = [rehearsal.step(rehearsal.some(heaviest, count))]
            num_whole = int(count == size)
        for number in range(_MOST_STEPS):
            step = int((number + 0.5) / _MOST_STEPS * num_steps)
            count = affordable(step, 1.0)
            whole = len(rehearsal.counting.pairs(step))
            if count < min(whole, 2 * few) or (num_whole > 2 and clock.elapsed > ALLOWED_SECONDS / 2):
                break
            steps.append(rehearsal.step(rehearsal.some(step, count)))
            num_whole += count == whole
        kept = max(one.load.kept_tokens for one in steps)
        beyond = max(0, loads[heaviest].kept_tokens - kept)
        return cls(
            steps=steps,
            num_whole=num_whole,
            work=float(work.sum()),
            num_steps=num_steps,
            loss_seconds=0.0 if num_whole else rehearsal.loss_seconds(heaviest),
            counted_bytes=int(beyond * rehearsal.bytes_per_token),
        )

    @property
    def training_seconds(self) -> float:
        """Of all steps."""
        rest = statistics.median(one.rest_seconds for one in self.steps)
        return _rate(self.steps) * self.work + self.num_steps * (rest + self.loss_seconds)

    @property
    def peak_memory_bytes(self) -> int:
        """Of this process, when these steps had been computed."""
        return max(one.peak_memory_bytes for one in self.steps)

    @property
    def chance(self) -> float:
        """By what share the seconds may be wrong."""
        rates = [one.seconds / one.load.work for one in self.steps]
        spread = statistics.stdev(rates) / statistics.mean(rates) / len(rates) ** 0.5 if len(rates) > 1 else _CHANCE
        return min(0.5, _CHANCE + 2 * spread)

    def measured(self) -> dict[str, Any]:
        """What the numbers stand on; plain JSON values."""
        return {
            "steps": len(self.steps),
            "whole_steps": self.num_whole,
            "chunks": sum(one.load.num_chunks for one in self.steps),
            "tokens": sum(one.load.num_tokens for one in self.steps),
            "step_seconds": sum(one.seconds + one.rest_seconds for one in self.steps),
        }


def _rate(steps: Sequence[Rehearsed]) -> float:
    """Seconds for one floating point operation."""
    return sum(one.seconds for one in steps) / sum(one.load.work for one in steps)


def _saving_seconds(rehearsal: Rehearsal) -> float:
    """What has to be left of the time to see how long files take."""
    weights = rehearsal.joint.encoder.backbone.parameters()
    return sum(one.nbytes for one in weights) / _BYTES_A_SECOND
