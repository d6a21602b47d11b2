"""The figures of all projects' jobs, on both backends."""

from collections.abc import Callable

from service.store import figures, jobs
from service.store.database import Database
from service.store.figures import Ended
from service.store.records import JobKind, JobRecord, JobStatus

Make = Callable[..., JobRecord]


def test_an_empty_store_has_queues_in_which_nothing_waits(database: Database) -> None:
    with database.read() as tx:
        found = figures.read(tx)
    assert found.waiting == {"train": 0, "medium": 0, "light": 0}
    assert (found.running, found.ended, found.pairs_per_second) == ({}, {}, 0.0)


def test_what_waits_runs_and_has_ended_is_counted_over_all_projects(database: Database, make_job: Make) -> None:
    with database.write() as tx:
        for kind, project in ((JobKind.MINE, "a"), (JobKind.EVALUATE, "b"), (JobKind.TRAIN, "a"), (JobKind.TRAIN, "b")):
            jobs.insert(tx, make_job(kind=kind, project=project))
        ended, running = (jobs.claim(tx, "train", owner="w", now=10.0 ** (n + 4)) for n in range(2))
        assert ended is not None and running is not None
        told = {"progress": {"pairs_per_second": 12.5}}
        jobs.heartbeat(tx, running.id, attempt=1, now=2e5, update=told)
        assert jobs.succeed(tx, ended.id, attempt=1, now=1e4 + 7, result={})
    with database.read() as tx:
        found = figures.read(tx)
    assert found.waiting == {"train": 0, "medium": 2, "light": 0}
    assert (found.running, found.pairs_per_second) == ({JobKind.TRAIN: 1}, 12.5)
    assert found.ended == {(JobKind.TRAIN, JobStatus.SUCCEEDED): Ended(count=1, seconds=7.0)}
