"""How long a run would take here, and how much memory: its steps are counted, a few of them are computed and timed.

Texts are tokenised and settings decided by the code of the training itself. Memory is the peak of this process: ask in
one that has done nothing else. Files are written into a temporary folder alone, to see how long that takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from infonce.checkpoint import num_saved
from infonce.config import TrainConfig
from infonce.digest import sha256_of
from infonce.early_stopping import evaluation_is_due
from infonce.encoder import Encoder
from infonce.extra_work import ExtraWork
from infonce.judged_work import Judge, JudgedTime
from infonce.layout import WEIGHTS
from infonce.mining_config import check_foreseen
from infonce.pairs import Pair
from infonce.peak_memory import peak_memory_bytes, resident_bytes
from infonce.prepare import Prepared, identity, prepare
from infonce.qrels import EvalSet
from infonce.records import Progress
from infonce.rehearsal import Rehearsal
from infonce.schedule import Schedule
from infonce.step_times import Clock, StepTimes
from infonce.vectors import CachedEncoder

_HEAP_GROWTH = 1.4
"""What the steps of a run need in the end over what the first ones need, on a CPU (docs/log.md). Tensors of ever other
shapes come and go, and glibc before 2.38 does not put an aligned block where one of its size has been."""
_CHANCE_OF_MEMORY = 0.15  # of what was measured
_CHANCE_OF_COUNTED_MEMORY = 0.2  # of what was counted


class Part(StrEnum):
    """What an estimate does, in this order."""

    TOKENISING = "tokenising"
    ENCODING = "encoding a few texts"
    STEPS = "computing a few steps"
    SAVING = "saving"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A run as it would be started."""

    encoder: Encoder
    """That would be trained; of no use afterwards."""
    pairs: Sequence[Pair]
    config: TrainConfig
    judge: Judge
    judged: Sequence[EvalSet] = ()
    """What base and tuned model are judged on."""
    chosen_by: EvalSet | None = None
    """What early stopping looks at."""
    ks: Sequence[int] = (10,)
    source: CachedEncoder
    """What knows the vectors that need not be computed for the base model; asked for none."""
    save_every_seconds: float
    loading_seconds: float
    """That have gone until here: the program, the model, the pairs."""
    reloading_seconds: float = 0.0
    """To load the tuned model from its folder, where that is done."""
    extra: ExtraWork | None = None
    """What a job does besides; `infonce train` does nothing else."""
    scratch: Path | None = None
    """Where files are written that show how long that takes; the system's place for such."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a run would take."""

    seconds: Mapping[str, float]
    """By part of the run."""
    seconds_range: tuple[float, float]
    peak_memory_bytes: int
    memory_range: tuple[int, int]
    num_pairs: int
    num_texts: int
    """Distinct ones, that are trained on."""
    num_judged_texts: int
    """That are encoded to judge the base model."""
    num_steps: int
    num_chunks: int
    trained_tokens: int
    config: TrainConfig
    """Without any `auto`."""
    measured: Mapping[str, Any]
    """What the numbers stand on."""

    @property
    def total_seconds(self) -> float:
        """All parts together."""
        return sum(self.seconds.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "total_seconds": self.total_seconds,
            "total_seconds_range": list(self.seconds_range),
            "seconds": dict(self.seconds),
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_memory_bytes_range": list(self.memory_range),
            "num_pairs": self.num_pairs,
            "num_texts": self.num_texts,
            "num_judged_texts": self.num_judged_texts,
            "num_steps": self.num_steps,
            "num_chunks": self.num_chunks,
            "batch_size": self.config.batch_size,
            "trained_tokens": self.trained_tokens,
            "settings": self.config.to_dict(),
            "measured": dict(self.measured),
        }


def estimate(plan: Plan, *, progress: Progress, begins: Callable[[Part], None] = lambda part: None) -> Estimate:
    """What the run would take, known after at most 20 seconds or a tenth of it.

    Raises:
        ConfigError: config, pairs and model do not fit together, as the run would say; or negatives are to be mined.
        OutOfMemory: the device has no memory for a step.
        Stopped: `progress.stop_requested()`; at most a chunk later.
    """
    check_foreseen(plan.config.mine)
    clock = Clock(began=perf_counter() - plan.loading_seconds)
    begins(Part.TOKENISING)
    ready, preparing_seconds = _prepared(plan, progress)
    begins(Part.ENCODING)
    judging = JudgedTime.of(plan.judge, plan.judged, chosen_by=plan.chosen_by, source=plan.source, ks=plan.ks)
    extra = plan.extra
    audit_seconds = 0.0 if extra is None else extra.audit_seconds(plan.pairs, judge=plan.judge, judging=judging)
    begins(Part.STEPS)
    known = (
        plan.loading_seconds + preparing_seconds + judging.baseline_seconds + judging.evaluating_seconds + audit_seconds
    )
    with Rehearsal.of(plan.encoder, ready, stop=progress.stop_requested) as rehearsal:
        held = resident_bytes()
        schedule = Schedule.count(rehearsal.counting, stop=progress.stop_requested)
        times = StepTimes.of(rehearsal, schedule, clock=clock, others_seconds=known)
        begins(Part.SAVING)
        num_kept = num_saved(times.num_steps, times.training_seconds, every_seconds=plan.save_every_seconds)
        saving_seconds = num_kept * rehearsal.save_seconds(plan.scratch) if num_kept else 0.0
    num_judged = sum(evaluation_is_due(step, times.num_steps) for step in range(times.num_steps + 1))
    seconds = {
        "loading": plan.loading_seconds,
        "preparing": preparing_seconds,
        "baseline": judging.baseline_seconds + audit_seconds,
        "training": times.training_seconds,
        "judging": 0.0 if ready.config.early_stopping is None else num_judged * judging.once_seconds,
        "saving": saving_seconds,
        "exporting": _exporting_seconds(plan),
        "evaluating": judging.evaluating_seconds + plan.reloading_seconds,
    }
    rejudging = 0.0
    if extra is not None:
        seconds["blending"], rejudging = extra.blending_seconds(
            schedule.trained_tokens, judge=plan.judge, judging=judging, ks=plan.ks
        )
    total, counted = sum(seconds.values()), times.counted_bytes
    growth = _HEAP_GROWTH if plan.encoder.device.type == "cpu" else 1.0
    stepping = held + int(growth * (max(0, times.peak_memory_bytes - held) + counted))
    memory = max(stepping, judging.peak_memory_bytes, peak_memory_bytes())
    uncertain = int(_CHANCE_OF_MEMORY * memory + _CHANCE_OF_COUNTED_MEMORY * counted)
    return Estimate(
        seconds=seconds,
        seconds_range=(total * (1 - times.chance), total * (1 + times.chance) + rejudging),
        peak_memory_bytes=memory,
        memory_range=(memory - uncertain, memory + uncertain),
        num_pairs=len(ready.table),
        num_texts=len(ready.tokens.lengths),
        num_judged_texts=judging.num_texts,
        num_steps=times.num_steps,
        num_chunks=schedule.num_chunks,
        trained_tokens=schedule.trained_tokens,
        config=ready.config,
        measured={**times.measured(), **judging.measured(), "seconds": clock.elapsed},
    )


def _prepared(plan: Plan, progress: Progress) -> tuple[Prepared, float]:
    """What the run is made of, and the seconds that it took to find that out."""
    began = perf_counter()
    identity(plan.encoder, plan.pairs, config=plan.config)
    ready = prepare(plan.encoder, plan.pairs, config=plan.config, progress=progress, saved=None)
    return ready, perf_counter() - began


def _exporting_seconds(plan: Plan) -> float:
    """What it takes to write the model; it was, and is gone."""
    with TemporaryDirectory(dir=plan.scratch, prefix="infonce-estimate-") as folder:
        began = perf_counter()
        plan.encoder.save(Path(folder))
        sha256_of(Path(folder) / WEIGHTS)
        return perf_counter() - began
