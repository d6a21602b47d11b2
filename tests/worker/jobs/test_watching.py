"""What a job tells of long work: how far it is, and an honest guess of how long the rest takes."""

from dataclasses import dataclass, field

import pytest

from service.store.records import Phase
from tests.worker.jobs.conftest import Recorder
from worker.jobs.watching import Pace, Watching


@dataclass
class Clock:
    """A clock that only `now` moves."""

    now: float = 0.0
    told: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


def etas(recorder: Recorder) -> list[float]:
    return [step["eta_seconds"] for step in recorder.steps]


def test_the_first_part_gives_a_guess_which_the_second_one_mends(recorder: Recorder) -> None:
    clock = Clock()
    pace = Pace(recorder, clock=clock)
    for clock.now, done in ((9.0, 10), (10.0, 20), (12.0, 40)):  # eight seconds of the first were for the model
        pace.tell(done, 40)
    assert etas(recorder) == pytest.approx([27.0, 2.0, 0.0])
    assert [step["percent"] for step in recorder.steps] == [25, 50, 100]


@pytest.mark.parametrize("second", [(5, 20), (10, 40), (5, 40)], ids=["total", "same count", "lower count"])
def test_another_run_begins_where_the_last_one_ended(second: tuple[int, int], recorder: Recorder) -> None:
    clock = Clock()
    pace = Pace(recorder, clock=clock)
    clock.now = 100.0
    pace.tell(10, 40)
    clock.now = 101.0
    pace.tell(*second)
    done, total = second
    assert etas(recorder)[-1] == pytest.approx((total - done) / done)


def test_what_waits_before_a_run_does_not_count_once_it_begins(recorder: Recorder) -> None:
    clock = Clock()
    pace = Pace(recorder, clock=clock)
    clock.now = 100.0
    pace.begin()
    clock.now = 101.0
    pace.tell(10, 40)
    assert etas(recorder) == pytest.approx([3.0])


def test_mining_tells_of_few_texts_too_how_long_the_rest_takes(recorder: Recorder) -> None:
    watch = Watching(recorder, phases={"mining": Phase.MINING}, embedding=Phase.EMBEDDING)
    watch.phase("mining")
    watch.embedded(256, 300)
    watch.embedded(300, 300)
    watch.searched(64, 128)
    assert recorder.phases == ["mining", "embedding", "mining"]
    first, last, searched = etas(recorder)
    assert first > 0 and last == 0 and searched > 0
