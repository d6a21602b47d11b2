"""The interval is the bootstrap's, and the verdict is the interval's."""

import json
import tracemalloc

import numpy as np
import pytest

from infonce.compare import NUM_RESAMPLES, Verdict, changes, compare, histogram, intervals
from infonce.errors import ConfigError

Values = dict[str, dict[str, float]]


def values(numbers: list[float], *, metric: str = "ndcg@10") -> Values:
    """Numbers as `evaluate_run` gives them."""
    return {f"q{place:05}": {metric: number} for place, number in enumerate(numbers)}


def random_values(count: int, *, seed: int, gain: float = 0.0) -> Values:
    draws = np.random.default_rng(seed).random(count)
    return values([float(number) + gain for number in draws])


def test_the_interval_equals_a_bootstrap_written_out() -> None:
    base, tuned = random_values(40, seed=1), random_values(40, seed=2)
    gains = np.array([tuned[query]["ndcg@10"] - base[query]["ndcg@10"] for query in base])
    draw = np.random.default_rng(9)
    means = sorted(np.mean([gains[draw.integers(40)] for _ in range(40)]) for _ in range(2_000))
    found = compare(base, tuned, seed=7)
    assert found.low == pytest.approx(means[50], abs=0.02)
    assert found.high == pytest.approx(means[-51], abs=0.02)
    assert found.delta == pytest.approx(found.mean_tuned - found.mean_base)


@pytest.mark.parametrize("count", [1, 7, 300, 3_000])  # in one chunk of draws and in several
def test_counting_how_often_a_query_is_drawn_is_averaging_what_is_drawn(count: int) -> None:
    base, tuned = random_values(count, seed=1), random_values(count, seed=2)
    gains = np.array([tuned[query]["ndcg@10"] - base[query]["ndcg@10"] for query in base])
    draw, chunk = np.random.default_rng(7), 1_000_000 // count
    sizes = [min(chunk, NUM_RESAMPLES - start) for start in range(0, NUM_RESAMPLES, chunk)]
    means = np.concatenate([gains[draw.integers(0, count, size=(size, count))].mean(axis=1) for size in sizes])
    found = compare(base, tuned, seed=7)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=1e-11)


def test_gains_that_cancel_out_are_no_gain_in_whatever_unit() -> None:
    signs = [1, 1, 1, -1, 1, 1]  # more than one resample in forty loses what it wins
    for unit in (1.0, 0.63093, 0.1307, 0.37):
        found = compare(values([0.5] * 6), values([0.5 + sign * unit / 2 for sign in signs]))
        assert (found.low, found.verdict) == (0.0, Verdict.INCONCLUSIVE)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    draw, hits = np.random.default_rng(3), 0
    for seed in range(200):
        gains = values(list(draw.normal(0.1, 1.0, size=60)))
        found = compare(values([0.0] * 60), gains, seed=seed)
        hits += found.low <= 0.1 <= found.high
    assert 180 <= hits <= 198


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.2, Verdict.BETTER), (-0.2, Verdict.WORSE), (0.0, Verdict.INCONCLUSIVE)]
)
def test_the_verdict_follows_the_interval(gain: float, verdict: Verdict) -> None:
    assert compare(random_values(50, seed=1), random_values(50, seed=1, gain=gain)).verdict == verdict


def test_wins_losses_and_ties_are_counted_by_query() -> None:
    found = compare(values([0.5] * 6), values([0.6, 0.6, 0.6, 0.4, 0.5, 0.5]))
    assert (found.wins, found.losses, found.ties, found.num_queries) == (3, 1, 2, 6)


def test_a_handful_of_queries_decides_nothing() -> None:
    assert compare(values([0.0] * 5), values([1.0] * 5)).verdict == Verdict.INCONCLUSIVE
    assert compare(values([0.0] * 6), values([1.0] * 6)).verdict == Verdict.BETTER


def test_seed_and_values_alone_decide() -> None:
    base, tuned = random_values(30, seed=1), random_values(30, seed=2)
    turned = dict(reversed(tuned.items()))
    assert compare(base, tuned, seed=1) == compare(base, turned, seed=1)
    assert compare(base, tuned, seed=1).low != compare(base, tuned, seed=2).low


def test_many_queries_need_little_memory() -> None:
    base, tuned = random_values(20_000, seed=1), random_values(20_000, seed=2)
    tracemalloc.start()
    compare(base, tuned)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000 < 8 * NUM_RESAMPLES * 20_000


def test_every_metric_has_the_interval_that_it_has_alone() -> None:
    base, tuned = ({query: dict(row) for query, row in random_values(50, seed=seed).items()} for seed in (1, 2))
    for place, query in enumerate(base):
        base[query]["mrr@10"], tuned[query]["mrr@10"] = place / 50, (place % 7) / 7
    for metric, found in intervals(base, tuned, seed=7).items():
        alone = compare(base, tuned, metric=metric, seed=7)
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
        assert (found.base, found.tuned) == pytest.approx((alone.mean_base, alone.mean_tuned))


def test_the_histogram_counts_every_query_that_changed() -> None:
    base, tuned = values([0.0, 0.5, 0.5, 1.0, 0.2]), values([1.0, 0.5, 0.52, 0.0, 0.15])
    found = histogram(changes(base, tuned, metric="ndcg@10"))
    assert found == (1, *8 * [0], 1, 1, *8 * [0], 1)


def test_a_report_can_hold_it() -> None:
    found = compare(values([0.1] * 8), values([0.3] * 8, metric="ndcg@10")).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert type(found["verdict"]) is str


@pytest.mark.parametrize("tuned", [{}, values([0.1] * 4), values([0.1] * 3, metric="mrr@10")])
def test_what_cannot_be_compared_is_refused(tuned: Values) -> None:
    with pytest.raises(ConfigError, match=r"same queries|was not measured"):
        compare(values([0.1] * 3), tuned)
