"""What a training publishes in the end: the tuned weights or a blend with the base's, judged as they will be served."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.evaluation import Evaluation
from infonce.halves import halves, restricted
from infonce.qrels import EvalSet
from service.store.records import Phase
from worker.jobs.blended import Blend, Candidates, Spent, best_blend, judged_by_the_rest
from worker.jobs.judged import HELD_OUT, evaluate_all
from worker.jobs.retained import Probe, as_it_is
from worker.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The sets to judge by, and two models on them."""

    sets: Mapping[str, EvalSet]
    before: Mapping[str, Evaluation]
    after: Mapping[str, Evaluation]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """The model in the staging folder, and all that was measured of it."""

    encoder: Encoder
    judged: Judged
    retention: Mapping[str, Any]
    interpolation: Mapping[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """What the job's summary says beside the verdict; nothing where nothing was judged."""
        if not self.judged.sets:
            return {}
        return {"retention": dict(self.retention), "alpha": self.interpolation["alpha"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The base, the encoder that was trained, and the probe for both."""

    base: Encoder
    encoder: Encoder
    probe: Probe
    precision: Precision
    seed: int
    order: Mapping[str, Any]
    progress: Progress

    @property
    def staging(self) -> Path:
        """Where the model to be published is."""
        return Path(self.order["staging"])

    def judge(self, tuned: Encoder, sets: Mapping[str, EvalSet]) -> dict[str, Evaluation]:
        """The model's numbers on every set."""
        return evaluate_all(tuned, sets, order=self.order, precision=self.precision, progress=self.progress)


def settle(trained: Trained, sets: Mapping[str, EvalSet], *, before: Mapping[str, Evaluation], spent: Spent) -> Settled:
    """What is to be published is in the staging folder, and judged; the base's numbers are `before`.

    The tuned weights lie there already, and stay bit for bit if none between them and the base's do better. Where
    others take their place, the held-out queries that they were chosen by judge nothing.
    """
    clock, progress = spent.clock, trained.progress
    began = clock()
    tuned = Encoder.load(trained.staging)  # what will be served is judged, not what lies in memory
    after = trained.judge(tuned, sets)
    judging_seconds = clock() - began
    kept = None
    if trained.probe.judged is not None:
        now = as_it_is(tuned, precision=trained.precision, progress=progress)
        kept = trained.probe.measure(now, progress=progress)
    candidates = Candidates(
        base=trained.base,
        tuned=tuned,
        vessel=trained.encoder,
        probe=trained.probe,
        tuned_probe=kept,
        precision=trained.precision,
    )
    spent = replace(
        spent,
        elapsed_seconds=spent.elapsed_seconds + clock() - began,
        judged=tuple(sets.values()),
        judging_seconds=judging_seconds,
    )
    held_out = sets.get(HELD_OUT)
    found = best_blend(candidates, held_out, order=trained.order, spent=spent, seed=trained.seed, progress=progress)
    judged = Judged(sets=sets, before=before, after=after)
    if found.changed:
        assert held_out is not None, "something was chosen by it"
        tuned, kept, judged = _replaced(trained, found, judged=judged, held_out=held_out)
    retention = trained.probe.summary(kept)
    return Settled(encoder=tuned, judged=judged, retention=retention, interpolation=found.to_dict())


def _replaced(trained: Trained, found: Blend, *, judged: Judged, held_out: EvalSet) -> tuple[Encoder, float, Judged]:
    """The blend is in the staging folder; what it gets on the probe, and both models on what did not choose it."""
    trained.progress.phase(Phase.EXPORTING)
    trained.encoder.save(trained.staging)
    trained.progress.phase(Phase.EVALUATING)
    tuned = Encoder.load(trained.staging)
    after = trained.judge(tuned, judged.sets)
    _, second = halves(held_out, seed=trained.seed)
    rest = {name: dict(found) for name, found in (("before", judged.before), ("after", after))}
    for evaluations in rest.values():
        evaluations[HELD_OUT] = judged_by_the_rest(evaluations[HELD_OUT], second)
    sets = {**judged.sets, HELD_OUT: restricted(held_out, second)}
    [probe] = [point.probe for point in found.soup.curve if point.alpha == found.soup.alpha]
    return tuned, probe, Judged(sets=sets, before=rest["before"], after=rest["after"])
