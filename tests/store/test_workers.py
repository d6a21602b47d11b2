"""Which workers are alive, and what they do."""

from collections.abc import Callable

from service.store import jobs, workers
from service.store.database import Database, Tx
from service.store.records import JobRecord, Page
from service.store.signals import WorkerRecord
from service.store.workers import SILENT_SECONDS


def alive(tx: Tx, now: float) -> list[WorkerRecord]:
    found, more = workers.alive(tx, now=now, page=Page(descending=False))
    assert not more
    return found


def worker(id: str, *, seen_at: float) -> WorkerRecord:
    return WorkerRecord(id=id, queues=("train",), version="1", created_at=5.0, seen_at=seen_at)


def test_a_worker_is_alive_until_it_leaves_or_was_silent_for_a_lease(database: Database) -> None:
    with database.write() as tx:
        for seen_at in (10.0, 20.0):
            workers.see(tx, worker("a:1", seen_at=seen_at))
        workers.see(tx, worker("b:1", seen_at=30.0))
        assert alive(tx, 80.0) == [worker("a:1", seen_at=20.0), worker("b:1", seen_at=30.0)]
        assert [found.id for found in alive(tx, 20.1 + SILENT_SECONDS)] == ["b:1"]
        workers.leave(tx, "b:1")
        assert [found.id for found in alive(tx, 30.0)] == ["a:1"]


def test_a_silent_worker_is_forgotten_by_the_next_sign_of_another(database: Database) -> None:
    with database.write() as tx:
        workers.see(tx, worker("a:1", seen_at=10.0))
        workers.see(tx, worker("b:1", seen_at=10.1 + SILENT_SECONDS))
        assert [found.id for found in alive(tx, 10.0)] == ["b:1"]


def test_what_a_worker_runs_is_known(database: Database, make_job: Callable[..., JobRecord]) -> None:
    job = make_job(project="team")
    with database.write() as tx:
        jobs.insert(tx, job)
        jobs.claim(tx, "train", owner="a:1", now=10.0)
        found = workers.running(tx, ["a:1", "b:1"])
        assert (found["a:1"].job_id, found["a:1"].project, found["a:1"].phase) == (job.id, "team", "loading")
        jobs.succeed(tx, job.id, attempt=1, now=11.0, result={})
        assert list(found) == ["a:1"] and workers.running(tx, ["a:1", "b:1"]) == {}
