"""Weights between those of a base model and those tuned from it, and which of them to serve.

WiSE-FT, Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (arXiv 2109.01903): the straight line from base
(alpha 0) to tuned (alpha 1) often holds weights that keep what the base knew and most of what was learnt.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self

import torch
from torch import nn

from infonce.compare import Verdict, compare
from infonce.qrels import EvalSet
from infonce.retention import METRIC, within_bound

MAX_POINTS: Final = 11
MIN_POINTS: Final = 5
MAX_SHARE: Final = 0.2
"""Of the job's time, that the search may take."""
PLANNED_SHARE: Final = 0.15
"""Of its work, so that time seldom decides."""
LEAST_SHARE: Final = 0.19
"""Of its work, that the least number of points may take: to forget is worse than to come near the bound."""
_CHARACTERS_A_TOKEN: Final = 4  # of English, about
_MAX_CHARACTERS: Final = 1_500  # of a long text a model reads no more


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What the weights at `alpha` get: on the queries to choose by, each, and on the retention probe."""

    alpha: float
    held_out: Mapping[str, Mapping[str, float]]
    probe: float

    @property
    def mean(self) -> float:
        """The metric over the queries to choose by."""
        return sum(values[METRIC] for values in self.held_out.values()) / len(self.held_out)

    def to_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return {"alpha": self.alpha, "held_out": self.mean, "probe": self.probe}


@dataclass(frozen=True, kw_only=True, slots=True)
class Soup:
    """The alpha to serve, why, and the curve that was measured, in the order of alpha."""

    alpha: float
    reason: str
    curve: tuple[Point, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        curve = [point.to_dict() for point in self.curve]
        return {"alpha": self.alpha, "reason": self.reason, "seconds": self.seconds, "curve": curve}


@torch.no_grad()
def blend(vessel: nn.Module, *, base: nn.Module, tuned: nn.Module, alpha: float) -> None:
    """The vessel's weights are `(1 - alpha)` times the base's plus `alpha` times the tuned ones.

    Both ends are bit-equal, and so is a weight that the training left alone, at every alpha.
    What is no floating-point number (position ids, say) is the tuned model's.
    """
    first, last = base.state_dict(), tuned.state_dict()
    into = vessel.state_dict()
    assert first.keys() == last.keys() == into.keys(), "all three are one architecture"
    for name, target in into.items():
        if alpha == 1.0 or not target.is_floating_point():
            target.copy_(last[name])
        elif alpha == 0.0:
            target.copy_(first[name])
        else:
            target.copy_(torch.lerp(first[name].to(target.device), last[name].to(target.device), alpha))


def grid(num_points: int) -> list[float]:
    """So many alphas from 0 to 1 at equal distances."""
    return [place / (num_points - 1) for place in range(num_points)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the parts of a job read, in characters; the same in every attempt, which seconds are not."""

    job: float
    """Until the search begins; what is trained on counts three times, for it goes backward as well."""
    point: float
    """Of one point between the ends."""
    final: float
    """Of judging the chosen weights, if they are not the tuned ones."""

    @classmethod
    def of(cls, trained_tokens: int, *, judged: Iterable[EvalSet], probe: EvalSet, sample: EvalSet) -> Self:
        """Of a job that trains on so many tokens, and chooses by the probe and a sample of the held-out queries."""
        all_judged, probed = float(sum(map(size_of, judged))), float(size_of(probe))
        trained = 3.0 * _CHARACTERS_A_TOKEN * trained_tokens
        return cls(job=trained + 2 * (all_judged + probed), point=probed + size_of(sample), final=all_judged)


def size_of(judged: EvalSet) -> int:
    """About how much there is to embed, in characters."""
    texts = chain(judged.corpus.values(), judged.queries.values())
    return sum(min(len(text), _MAX_CHARACTERS) for text in texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Time:
    """What the parts of a job took, in seconds."""

    clock: Callable[[], float]
    job: float
    final: float

    def over(self, began: float, longest: float) -> bool:
        """Whether another point like the longest may make the search more than a fifth of the job."""
        return self.clock() - began + longest + self.final > self.job * MAX_SHARE / (1 - MAX_SHARE)


def affordable(work: Work) -> int | None:
    """How many points the search may have, its ends (which are measured already) included; None if fewer than 5.

    The search and what follows it (saving and judging the chosen weights) are planned as 15 % of all work; where five
    points do not fit into that, they may be 19 %.
    """
    num_points = _fitting(work, PLANNED_SHARE)
    if num_points >= MIN_POINTS:
        return min(num_points, MAX_POINTS)
    return MIN_POINTS if _fitting(work, LEAST_SHARE) >= MIN_POINTS else None


def _fitting(work: Work, share: float) -> int:
    """The points, both ends included, that make the search that share of all work."""
    left = work.job * share / (1 - share) - work.final
    return 2 + int(max(0.0, left) / max(work.point, 1e-9))


def search(measure: Callable[[float], Point], ends: tuple[Point, Point], *, work: Work, time: Time) -> Soup:
    """The alpha to serve, between `ends`: the base (0) and the tuned weights (1), both measured before.

    How many points there are depends on the work alone, so that a job which is repeated chooses as it did before. Only
    should they take far longer than that lets expect, the search ends at a fifth of the job's time with those it has,
    the nearest to the tuned weights first.
    """
    num_points = affordable(work)
    if num_points is None:
        share = 1 - work.job / (work.job + (MIN_POINTS - 2) * work.point + work.final)
        reason = f"off: {MIN_POINTS} points would be {share:.0%} of the job's work, more than {LEAST_SHARE:.0%}"
        return Soup(alpha=1.0, reason=reason, curve=ends)
    began, longest = time.clock(), 0.0
    points = list(ends)
    for alpha in reversed(grid(num_points)[1:-1]):
        before = time.clock()
        if time.over(began, longest):
            break
        points.append(measure(alpha))
        longest = max(longest, time.clock() - before)
    points.sort(key=lambda point: point.alpha)
    alpha, reason = choose(points)
    if len(points) < num_points:
        reason += f"; {len(points)} of {num_points} points, for they took longer than planned"
    return Soup(alpha=alpha, reason=reason, curve=tuple(points), seconds=time.clock() - began)


def choose(points: Sequence[Point]) -> tuple[float, str]:
    """The alpha with the best held-out value among those whose probe falls no more than the bound, and why.

    The tuned weights stay unless they break the bound or another point is better by more than luck (the interval of
    the paired difference is above 0); alpha 0, which would be the base under a new name, is never chosen.
    """
    base, tuned = points[0], points[-1]
    kept = [point for point in points[1:] if within_bound(base.probe, point.probe)]
    if not kept:
        return 1.0, "no point between base and tuned weights keeps the probe's bound"
    best = max(kept, key=lambda point: (point.mean, point.alpha))
    if tuned not in kept:
        return best.alpha, "the tuned weights break the probe's bound; the best of those that keep it"
    if best is tuned:
        return 1.0, "the tuned weights are the best of those that keep the probe's bound"
    if compare(tuned.held_out, best.held_out, metric=METRIC).verdict is Verdict.BETTER:
        return best.alpha, "better than the tuned weights by more than luck"
    return 1.0, "no point is better than the tuned weights by more than luck"
