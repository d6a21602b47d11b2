"""The weights between base and tuned model that a training publishes, where others than the tuned ones do better."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from infonce.compare import MIN_QUERIES
from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.evaluation import Evaluation, evaluate
from infonce.halves import halves, restricted, sampled
from infonce.metrics import mean
from infonce.qrels import EvalSet
from infonce.soup import Point, Soup, Time, Work, blend, search
from infonce.vectors import TextEncoder
from worker.jobs.embedding import cached
from worker.jobs.retained import Probe, as_it_is
from worker.progress import Progress

_OFF: Final = "off"
_RANK: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Two trained ends of a line, and a third encoder that takes the weights between them."""

    base: Encoder
    tuned: Encoder
    vessel: Encoder
    probe: Probe
    tuned_probe: float | None
    precision: Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What the job has lasted, and what judging a model took in it."""

    clock: Callable[[], float]
    elapsed_seconds: float
    """In all attempts, until the judging of the tuned model began; later, until it ended."""
    trained_tokens: int
    judged: Sequence[EvalSet] = ()
    judging_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """What became of the search, and by which queries it chose."""

    soup: Soup
    chosen_by: frozenset[str] = frozenset()
    num_documents: int = 0

    @property
    def changed(self) -> bool:
        """Whether the tuned weights give way to others, which the vessel has now."""
        return self.soup.alpha < 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the queries of the choice are a seeded sample of half of the held-out ones."""
        sizes = {"num_queries": len(self.chosen_by), "num_documents": self.num_documents}
        return self.soup.to_dict() | {"chosen_by": sizes if self.chosen_by else None}


def best_blend(
    candidates: Candidates,
    held_out: EvalSet | None,
    *,
    order: Mapping[str, Any],
    spent: Spent,
    seed: int,
    progress: Progress,
) -> Blend:
    """The vessel has the weights of the chosen alpha, if that is not 1; an event tells of it, or why nothing was tried.

    Chosen by one half of the held-out queries alone, so that the other one can judge what was chosen.
    """
    reason = why_not(order, held_out, is_probed=candidates.probe.judged is not None, seed=seed)
    if reason is not None or held_out is None:
        return _told(Blend(soup=Soup(alpha=1.0, reason=f"off: {reason}")), progress)
    sample = to_choose_by(held_out, seed=seed)
    root, precision = Path(order["vectors_root"]), candidates.precision

    def judge(source: TextEncoder) -> dict[str, dict[str, float]]:
        return evaluate(source, sample, ks=[_RANK], stop=progress.stop_requested).per_query

    def measure(alpha: float) -> Point:
        blend(candidates.vessel.backbone, base=candidates.base.backbone, tuned=candidates.tuned.backbone, alpha=alpha)
        now = as_it_is(candidates.vessel, precision=precision, progress=progress)
        return Point(alpha=alpha, held_out=judge(now), probe=candidates.probe.measure(now, progress=progress))

    kept = [cached(end, root, precision=precision, progress=progress) for end in (candidates.base, candidates.tuned)]
    assert candidates.tuned_probe is not None and candidates.probe.judged is not None, "there is a probe"
    ends = (
        Point(alpha=0.0, held_out=judge(kept[0]), probe=candidates.probe.base),
        Point(alpha=1.0, held_out=judge(kept[1]), probe=candidates.tuned_probe),
    )
    soup = search(
        measure,
        ends,
        work=Work.of(spent.trained_tokens, judged=spent.judged, probe=candidates.probe.judged, sample=sample),
        time=Time(clock=spent.clock, job=spent.elapsed_seconds, final=spent.judging_seconds),
    )
    if soup.alpha < 1:
        blend(
            candidates.vessel.backbone, base=candidates.base.backbone, tuned=candidates.tuned.backbone, alpha=soup.alpha
        )
    found = Blend(soup=soup, chosen_by=frozenset(sample.qrels), num_documents=len(sample.corpus))
    return _told(found, progress)


def judged_by_the_rest(evaluation: Evaluation, queries: Collection[str]) -> Evaluation:
    """The numbers on these queries alone: the half of the held-out ones that nothing was chosen by."""
    per_query = {query: values for query, values in evaluation.per_query.items() if query in queries}
    run = {query: ranks for query, ranks in evaluation.run.items() if query in queries}
    return replace(evaluation, metrics=mean(per_query), per_query=per_query, run=run, num_queries=len(per_query))


def to_choose_by(held_out: EvalSet, *, seed: int) -> EvalSet:
    """A seeded sample of one half of the held-out queries."""
    first, _ = halves(held_out, seed=seed)
    return sampled(restricted(held_out, first), seed=seed)


def why_not(order: Mapping[str, Any], held_out: EvalSet | None, *, is_probed: bool, seed: int) -> str | None:
    """Why no weights but the tuned ones are tried, if none are."""
    if order["evaluation"].get("interpolation", _OFF) == _OFF:  # an order of an older version has none
        return "evaluation.interpolation is off"
    if not is_probed:
        return "retention is not measured"
    if held_out is None:
        return "nothing is held out to choose by, and an eval file judges what it did not choose"
    sizes = sorted(map(len, halves(held_out, seed=seed)))
    if sizes[0] < MIN_QUERIES:  # a few queries, or such as share their documents, one class say
        found = f"the held-out queries part into {sizes[1]} and {sizes[0]} that share no document"
        return f"{found}; {MIN_QUERIES} are needed on each side, one to choose by and one to judge by"
    return None


def _told(found: Blend, progress: Progress) -> Blend:
    soup = found.soup
    data = {"alpha": soup.alpha, "points": len(soup.curve)}
    message = f"Interpolation between base and tuned weights: alpha is {soup.alpha:g}; {soup.reason}."
    progress.event("info", "interpolation", message=message, data=data)
    return found
