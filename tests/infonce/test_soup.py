"""Weights between two models equal a slow loop; their search keeps its share of the time, and the choice the probe."""

import itertools
from pathlib import Path

import pytest
import torch

from infonce.encoder import Encoder
from infonce.soup import MAX_POINTS, Point, Soup, Time, Work, affordable, blend, choose, grid, search
from tests.factories import tiny_model

Encoders = tuple[Encoder, Encoder, Encoder]


@pytest.fixture
def three(tmp_path: Path) -> Encoders:
    """A base, a tuned model, and a vessel."""
    loaded = [Encoder.load(tiny_model(tmp_path / str(seed), seed=seed)) for seed in range(3)]
    return loaded[0], loaded[1], loaded[2]


def test_a_blend_equals_a_slow_loop_over_the_weights(three: Encoders) -> None:
    base, tuned, vessel = (encoder.backbone for encoder in three)
    blend(vessel, base=base, tuned=tuned, alpha=0.25)
    for name, found in vessel.state_dict().items():
        pairs = zip(
            base.state_dict()[name].flatten().tolist(), tuned.state_dict()[name].flatten().tolist(), strict=True
        )
        expected = torch.tensor([0.75 * one + 0.25 * other for one, other in pairs]).reshape(found.shape)
        assert torch.allclose(found.double(), expected.double(), atol=1e-7)


def test_the_ends_of_the_line_are_bit_equal_to_their_models(three: Encoders) -> None:
    base, tuned, vessel = three
    for alpha, end in ((1.0, tuned), (0.0, base), (1.0, tuned)):
        blend(vessel.backbone, base=base.backbone, tuned=tuned.backbone, alpha=alpha)
        assert vessel.fingerprint() == end.fingerprint()


def point(alpha: float, value: float, *, probe: float = 0.5, spread: float = 0.0) -> Point:
    """A point whose 40 queries get `value`, each second one `spread` more and the others as much less."""
    rows = {f"q{place}": {"ndcg@10": value + spread * (-1) ** place} for place in range(40)}
    return Point(alpha=alpha, held_out=rows, probe=probe)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([point(0, 0.2), point(0.5, 0.4), point(1, 0.6)], 1.0),
        ([point(0, 0.2), point(0.5, 0.7), point(1, 0.6)], 0.5),
        ([point(0, 0.9), point(0.5, 0.4), point(1, 0.6)], 1.0),
        ([point(0, 0.2), point(0.5, 0.601, spread=0.1), point(1, 0.6)], 1.0),
        ([point(0, 0.2), point(0.5, 0.4), point(1, 0.6, probe=0.48)], 0.5),
        ([point(0, 0.2), point(0.5, 0.4, probe=0.48), point(1, 0.6, probe=0.4)], 1.0),
        ([point(0, 0.2), point(0.25, 0.3), point(0.5, 0.3), point(1, 0.6, probe=0.4)], 0.5),
        ([point(0, 0.2), point(0.5, 0.9, probe=0.48), point(1, 0.6, probe=0.491)], 1.0),
    ],
    ids=["tuned", "better", "never 0", "luck", "forgets", "none kept", "larger of equals", "bound"],
)
def test_the_choice_is_the_best_that_keeps_the_probe_and_the_tuned_where_in_doubt(
    points: list[Point], expected: float
) -> None:
    alpha, reason = choose(points)
    assert alpha == expected and reason


class Watch:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def searched(*, elapsed: float, planned: float, real: float, final: float = 0.0) -> tuple[Soup, float]:
    """A search in a job whose work took `elapsed` seconds, a point's being planned and really taking so many."""
    watch = Watch()

    def measure(alpha: float) -> Point:
        watch.now += real
        return point(alpha, 0.3)

    ends = (point(0, 0.2), point(1, 0.6))
    work = Work(job=7 * elapsed, point=7 * planned, final=7 * final)
    return search(measure, ends, work=work, time=Time(clock=watch, job=elapsed, final=final)), watch.now


@pytest.mark.parametrize(
    ("elapsed", "planned", "real"), list(itertools.product([10, 100, 1_000], [0.1, 3, 30], [0.1, 3, 30]))
)
def test_the_search_takes_at_most_a_fifth_of_the_job(elapsed: float, planned: float, real: float) -> None:
    soup, took = searched(elapsed=elapsed, planned=planned, real=real, final=1.0)
    over = real if real > planned else 0.0  # the one in which it is found out that the plan was wrong
    assert took <= over + 0.2 * (elapsed + took) + 1e-9
    assert 2 <= len(soup.curve) <= MAX_POINTS


def test_the_search_is_off_and_says_so_where_five_points_cost_too_much() -> None:
    soup, took = searched(elapsed=100, planned=10, real=10)
    assert (soup.alpha, took, len(soup.curve)) == (1.0, 0.0, 2)
    assert soup.reason == "off: 5 points would be 23% of the job's work, more than 19%"


def test_a_search_that_is_far_slower_than_planned_ends_early_and_says_so() -> None:
    soup, _ = searched(elapsed=100, planned=1.9, real=6)
    assert "of 11 points, for they took longer" in soup.reason
    assert [one.alpha for one in soup.curve][-2:] == [0.9, 1.0]


@pytest.mark.parametrize("pace", [0.5, 1.0, 1.3])
def test_the_pace_of_a_machine_changes_no_number_of_points(pace: float) -> None:
    soup, _ = searched(elapsed=100, planned=3.5, real=3.5 * pace)
    assert len(soup.curve) == 7


AFFORDED = [(1, 11), (1.9, 11), (2.1, 10), (5.8, 5), (5.9, 5), (7.8, 5), (7.9, None)]


@pytest.mark.parametrize(("point_work", "expected"), AFFORDED)
def test_fewer_points_come_before_none(point_work: float, expected: int | None) -> None:
    assert affordable(Work(job=100, point=point_work, final=0)) == expected


def test_the_grid_has_both_ends() -> None:
    assert grid(5) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_blend_is_heard_by_the_encoder(three: Encoders) -> None:
    base, tuned, vessel = three
    before = vessel.encode(["red cat"])
    blend(vessel.backbone, base=base.backbone, tuned=tuned.backbone, alpha=0.5)
    assert not (vessel.encode(["red cat"]) == before).all()
