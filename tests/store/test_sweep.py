import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from service.store import events, jobs, sweep
from service.store.database import Database, Tx
from service.store.errors import DatabaseUnavailable, QueueUnavailable
from service.store.records import JobKind, JobRecord, JobStatus, Page
from service.store.sweep import Sweep

Make = Callable[..., JobRecord]


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


class Bell:
    """Notes who rang; fails as often as it is told."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []
        self.failures = 0

    def __call__(self, job_id: str, queue: str) -> None:
        if self.failures:
            self.failures -= 1
            raise QueueUnavailable("connection refused")
        self.rung.append((job_id, queue))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bell() -> Bell:
    return Bell()


def has_length(items: Sequence[object], length: int) -> bool:
    return len(items) == length


def insert(database: Database, *some: JobRecord) -> None:
    with database.write() as tx:
        for job in some:
            jobs.insert(tx, job)


def run_one(database: Database, job: JobRecord, *, now: float) -> None:
    insert(database, job)
    with database.write() as tx:
        assert jobs.claim(tx, "train", owner="o", now=now) is not None


def status(database: Database, job: JobRecord) -> JobStatus:
    with database.read() as tx:
        return jobs.get(tx, job.project, id=job.id).status


def test_only_an_expired_lease_is_reaped(database: Database, make_job: Make) -> None:
    old, fresh = make_job(), make_job()
    run_one(database, old, now=0.0)
    run_one(database, fresh, now=30.0)
    with database.write() as tx:
        assert sweep.reap(tx, 60.0) == []  # not yet: until 60 it is the owner's
        assert sweep.reap(tx, 60.1) == [old.id]
        (event,), _ = events.page(tx, old.id, page=Page(limit=1))
    assert (event.type, event.level) == ("released", "warn")
    assert (status(database, old), status(database, fresh)) == (JobStatus.QUEUED, JobStatus.RUNNING)


def test_a_waiting_job_is_rung_once_and_again_after_thirty_seconds(database: Database, make_job: Make) -> None:
    train, index, later = make_job(), make_job(kind=JobKind.INDEX), make_job(run_after=500.0)
    insert(database, train, index, later)
    both = [(train.id, "train"), (index.id, "light")]
    with database.write() as tx:
        assert [sweep.due(tx, now) for now in (100.0, 105.0, 130.0, 130.1)] == [both, [], [], both]


def test_the_best_hundred_of_a_queue_are_rung_first(database: Database, make_job: Make) -> None:
    made = [make_job(priority=int(i == 104)) for i in range(105)]
    insert(database, *made)
    ids = [job.id for job in made]
    with database.write() as tx:
        first, second = sweep.due(tx, 1.0), sweep.due(tx, 1.0)
    assert {id for id, _ in first} == {ids[104], *ids[:99]}
    assert {id for id, _ in second} == set(ids[99:104])


def test_two_sweeps_at_once_ring_each_job_once(database: Database, make_job: Make) -> None:
    insert(database, *(make_job() for _ in range(60)))
    bells = [Bell(), Bell()]
    sweeps = [Sweep(database, bell) for bell in bells]
    threads = [threading.Thread(target=one.once) for one in sweeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rung = [id for bell in bells for id, _ in bell.rung]
    assert len(rung) == len(set(rung)) == 60


def test_sweeps_of_two_gateways_ring_a_waiting_job_once_in_thirty_seconds(
    database: Database, make_job: Make, clock: Clock, bell: Bell
) -> None:
    made = [make_job() for _ in range(3)]
    insert(database, *made)
    sweeps = [Sweep(database, bell, clock=clock) for _ in range(2)]
    for number in range(36):  # 90 s, each of them every 5 s, one half-way between two of the other's
        sweeps[number % 2].once()
        clock.now += 2.5
    assert Counter(bell.rung) == dict.fromkeys([(job.id, "train") for job in made], 3)


def test_what_waits_in_a_queue_that_was_emptied_is_due_again(database: Database, make_job: Make) -> None:
    train, index = make_job(), make_job(kind=JobKind.INDEX)
    insert(database, train, index)
    with database.write() as tx:
        sweep.due(tx, 100.0)
        sweep.unring_queues(tx, ["train"])
        assert sweep.due(tx, 101.0) == [(train.id, "train")]


def test_a_sweep_does_not_reap_in_its_own_first_minute(
    sqlite: Database, make_job: Make, clock: Clock, bell: Bell
) -> None:
    job = make_job()
    run_one(sqlite, job, now=0.0)  # expired for hours
    sweep = Sweep(sqlite, bell, clock=clock)
    seen, pauses = [], []
    for _ in range(14):
        pauses.append(sweep.once())
        seen.append(status(sqlite, job))
        clock.now += 5.0
    assert seen == [JobStatus.RUNNING] * 12 + [JobStatus.QUEUED] * 2
    assert pauses == [5.0] * 12 + [2.0, 5.0]  # what was put back is rung as soon as it may run


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_jumps_costs_no_running_job(
    sqlite: Database, make_job: Make, clock: Clock, bell: Bell, jump: float
) -> None:
    sweep = Sweep(sqlite, bell, clock=clock)
    for _ in range(14):  # warm
        sweep.once()
        clock.now += 5.0
    job = make_job()
    run_one(sqlite, job, now=clock.now)
    clock.now += jump
    for _ in range(10):
        sweep.once()
        with sqlite.write() as tx:
            assert jobs.heartbeat(tx, job.id, attempt=1, now=clock.now, update={}) is not None
        clock.now += 5.0


class Outage(Database):
    """A database that is away for as long as it is told."""

    away = False

    @contextmanager
    def write(self) -> Iterator[Tx]:
        if self.away:
            raise DatabaseUnavailable("connection refused")
        with super().write() as tx:
            yield tx


def test_an_outage_of_the_database_costs_no_running_job(
    sqlite_url: str, make_job: Make, clock: Clock, bell: Bell
) -> None:
    database = Outage.open(sqlite_url)
    sweep = Sweep(database, bell, clock=clock)
    for _ in range(14):
        sweep.once()
        clock.now += 5.0
    job = make_job()
    run_one(database, job, now=clock.now)
    database.away = True
    for _ in range(20):  # long enough for the lease to expire
        sweep.once()
        clock.now += 5.0
    database.away = False
    seen = []
    for _ in range(14):
        sweep.once()
        seen.append(status(database, job))
        clock.now += 5.0
    database.close()
    assert seen == [JobStatus.RUNNING] * 11 + [JobStatus.QUEUED] * 3


def test_a_bell_that_fails_is_rung_at_the_next_sweep(
    sqlite: Database, make_job: Make, clock: Clock, bell: Bell, caplog: pytest.LogCaptureFixture
) -> None:
    made = [make_job() for _ in range(3)]
    insert(sqlite, *made)
    sweep = Sweep(sqlite, bell, clock=clock)
    bell.failures = 1
    with caplog.at_level(logging.WARNING):
        sweep.once()
    assert bell.rung == []  # the first failure is enough: each may take seconds
    assert "3 bells did not ring" in caplog.text
    clock.now += 5.0
    sweep.once()
    assert bell.rung == [(job.id, "train") for job in made]


def test_a_poke_rings_at_once_and_stop_ends_the_loop(
    sqlite: Database, make_job: Make, bell: Bell, until: Callable[[Callable[[], bool]], None]
) -> None:
    sweep, stop = Sweep(sqlite, bell), threading.Event()
    thread = threading.Thread(target=sweep.run, args=[stop])
    thread.start()
    for num_rung in (1, 2, 3):
        insert(sqlite, make_job())
        sweep.poke()
        until(partial(has_length, bell.rung, num_rung))
    stop.set()
    sweep.poke()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_nothing_ends_the_loop_but_stop(
    sqlite: Database, make_job: Make, caplog: pytest.LogCaptureFixture, until: Callable[[Callable[[], bool]], None]
) -> None:
    stop = threading.Event()
    calls: list[str] = []

    def broken(job_id: str, queue: str) -> None:
        calls.append(job_id)
        raise ZeroDivisionError

    sweep = Sweep(sqlite, broken)
    thread = threading.Thread(target=sweep.run, args=[stop])
    thread.start()
    for num_calls in (1, 2):
        insert(sqlite, make_job())
        sweep.poke()
        until(partial(has_length, calls, num_calls))
    stop.set()
    sweep.poke()
    thread.join(timeout=5)
    assert "the sweep failed and goes on" in caplog.text
