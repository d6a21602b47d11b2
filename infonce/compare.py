"""Two models on the same queries: is the one better, or was it luck?

The percentile bootstrap over queries (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13), paired,
as Sakai 2006 ("Evaluating Evaluation Metrics based on the Bootstrap") and Smucker, Allan & Carterette 2007
("A Comparison of Statistical Significance Tests for Information Retrieval Evaluation") use it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infonce.errors import ConfigError
from infonce.limits import check_whole

NUM_RESAMPLES: Final = 10_000
CONFIDENCE: Final = 0.95
MIN_QUERIES: Final = 6
"""With five, even five wins out of five come by luck once in sixteen (two-sided sign test), above 1 in 20."""
NUM_BINS: Final = 20
"""Of the gains of single queries, -1 to 1, so that a bin is 0.1 wide."""
_DIGITS: Final = 12  # metrics are equal to trec_eval's to 9
_MAX_DRAWS: Final = 1_000_000  # 8 MB of indices at once


class Verdict(StrEnum):
    """What the interval of the mean difference allows to say of the tuned model."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class Outcome(StrEnum):
    """Whether the tuned model did better on one query."""

    WIN = "win"
    LOSS = "loss"
    TIE = "tie"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What one query's value of the metric was and is."""

    query: str
    base: float
    tuned: float

    @property
    def outcome(self) -> Outcome:
        """Any difference counts."""
        if self.tuned == self.base:
            return Outcome.TIE
        return Outcome.WIN if self.tuned > self.base else Outcome.LOSS


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The tuned model against its base; `low` and `high` bound the mean difference with 95 % confidence."""

    metric: str
    num_queries: int
    mean_base: float
    mean_tuned: float
    delta: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"verdict": self.verdict.value}


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """One metric's means, and with 95 % confidence the bounds of their difference."""

    base: float
    tuned: float
    low: float
    high: float


def compare(
    base: Mapping[str, Mapping[str, float]],
    tuned: Mapping[str, Mapping[str, float]],
    *,
    metric: str = "ndcg@10",
    seed: int = 42,
) -> Comparison:
    """The tuned model's gain over its base, from the values of each query; both as `metrics.evaluate_run` gives them.

    Raises:
        ConfigError: the two do not hold the same queries, or lack the metric.
    """
    check_whole("seed", seed, low=0, high=2**53)
    _check_comparable(base, tuned, metric=metric)
    queries = sorted(base)  # so that the draws do not depend on the order of a mapping
    before = np.array([base[query][metric] for query in queries])
    after = np.array([tuned[query][metric] for query in queries])
    gains = after - before
    low, high = (float(bound[0]) for bound in _bounds(gains[:, None], seed))
    return Comparison(
        metric=metric,
        num_queries=len(queries),
        mean_base=float(before.mean()),
        mean_tuned=float(after.mean()),
        delta=float(gains.mean()),
        low=low,
        high=high,
        wins=int((gains > 0).sum()),
        losses=int((gains < 0).sum()),
        ties=int((gains == 0).sum()),
        verdict=_verdict(low, high, num_queries=len(queries)),
    )


def intervals(
    base: Mapping[str, Mapping[str, float]], tuned: Mapping[str, Mapping[str, float]], *, seed: int = 42
) -> dict[str, Interval]:
    """Every metric's gain, from the same draws as `compare` takes.

    Raises:
        ConfigError: the two do not hold the same queries and metrics.
    """
    metrics = list(next(iter(base.values()), {}))
    for metric in metrics:
        _check_comparable(base, tuned, metric=metric)
    queries = sorted(base)
    before, after = (np.array([[of[query][name] for name in metrics] for query in queries]) for of in (base, tuned))
    columns = zip(metrics, before.mean(axis=0), after.mean(axis=0), *_bounds(after - before, seed), strict=True)
    return {
        metric: Interval(base=float(first), tuned=float(then), low=float(low), high=float(high))
        for metric, first, then, low, high in columns
    }


def histogram(found: Sequence[Change]) -> tuple[int, ...]:
    """How many queries gained how much, in bins from -1 to 1; those that did not change are not among them."""
    gains = [change.tuned - change.base for change in found if change.outcome is not Outcome.TIE]
    counts, _ = np.histogram(gains, bins=NUM_BINS, range=(-1.0, 1.0))
    return tuple(counts.tolist())


def changes(
    base: Mapping[str, Mapping[str, float]], tuned: Mapping[str, Mapping[str, float]], *, metric: str
) -> list[Change]:
    """Every query, those that changed most first, and of those that did not the ones with the lowest value first.

    Raises:
        ConfigError: the two do not hold the same queries, or lack the metric.
    """
    _check_comparable(base, tuned, metric=metric)
    found = [Change(query=query, base=base[query][metric], tuned=tuned[query][metric]) for query in sorted(base)]
    return sorted(found, key=lambda change: (-abs(change.tuned - change.base), change.base))


def _check_comparable(
    base: Mapping[str, Mapping[str, float]], tuned: Mapping[str, Mapping[str, float]], *, metric: str
) -> None:
    if not base or base.keys() != tuned.keys():
        shared = len(base.keys() & tuned.keys())
        message = f"base was measured on {len(base)} queries, tuned on {len(tuned)}, {shared} of them shared"
        raise ConfigError(f"{message}; measure both on the same queries, at least one", param="evaluation")
    for values in (*base.values(), *tuned.values()):
        if metric not in values:
            raise ConfigError(f"{metric} was not measured; known are {', '.join(values)}", param="metric")


def _bounds(gains: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The percentile interval of every column's mean, queries resampled with replacement, the same for all columns.

    Shape:
        gains (n, M); returns two of (M,).
    """
    generator = np.random.default_rng(seed)
    num_queries = len(gains)
    chunk = max(1, _MAX_DRAWS // num_queries)
    means = np.empty((NUM_RESAMPLES, gains.shape[1]))
    for start in range(0, NUM_RESAMPLES, chunk):
        size = min(chunk, NUM_RESAMPLES - start)
        drawn = generator.integers(0, num_queries, size=(size, num_queries))
        drawn += num_queries * np.arange(size)[:, None]  # so that one count serves all resamples
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(size, num_queries)
        means[start : start + size] = times @ gains / num_queries
    means = means.round(_DIGITS)  # gains that cancel out are 0, and no verdict hangs on how their sum was rounded
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def _verdict(low: float, high: float, *, num_queries: int) -> Verdict:
    if num_queries < MIN_QUERIES:
        return Verdict.INCONCLUSIVE
    if low > 0:
        return Verdict.BETTER
    return Verdict.WORSE if high < 0 else Verdict.INCONCLUSIVE
