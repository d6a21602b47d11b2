"""A job pauses and goes on when it is told to, loses nothing by that, and can be cancelled meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest

from service.store import events, files, jobs, sweep, wishes
from service.store.database import Database
from service.store.errors import Conflict, NotFound
from service.store.jobs import Heartbeat
from service.store.records import FileRecord, JobError, JobRecord, JobStatus, Page, Phase
from service.store.waiting import queue_positions

Make = Callable[..., JobRecord]


@pytest.fixture
def waiting(database: Database, make_job: Make) -> JobRecord:
    job = make_job()
    with database.write() as tx:
        jobs.insert(tx, job)
    return job


@pytest.fixture
def running(database: Database, waiting: JobRecord) -> JobRecord:
    """Its first attempt runs since time 10."""
    with database.write() as tx:
        claimed = jobs.claim(tx, "train", owner="host:1", now=10.0)
    assert claimed is not None
    return claimed


def told(database: Database, job: JobRecord) -> list[str]:
    with database.read() as tx:
        return [event.type for event in events.page(tx, job.id, page=Page(limit=100, descending=False))[0]]


def test_a_waiting_job_that_is_paused_is_neither_rung_nor_claimed_until_it_is_resumed(
    database: Database, waiting: JobRecord
) -> None:
    with database.write() as tx:
        sweep.due(tx, 1.0)
        paused = wishes.request_pause(tx, "default", id=waiting.id, now=2.0)
        assert wishes.request_pause(tx, "default", id=waiting.id, now=3.0) == paused  # again: the same answer
        assert (sweep.due(tx, 100.0), jobs.claim(tx, "train", owner="o", now=100.0)) == ([], None)
        resumed = wishes.request_resume(tx, "default", id=waiting.id, now=200.0)
        assert wishes.request_resume(tx, "default", id=waiting.id, now=201.0) == resumed
        assert sweep.due(tx, 202.0) == [(waiting.id, "train")]
        assert jobs.claim(tx, "train", owner="o", now=203.0) is not None
    assert (paused.status, resumed.status) == (JobStatus.PAUSED, JobStatus.QUEUED)
    assert told(database, waiting) == ["submitted", "paused", "unpaused", "claimed"]


def test_a_running_job_hears_the_wish_and_gives_up_its_lease_without_a_loss(
    database: Database, running: JobRecord
) -> None:
    with database.write() as tx:
        asked = wishes.request_pause(tx, "default", id=running.id, now=11.0)
        beat = jobs.heartbeat(tx, running.id, attempt=1, now=12.0, update={"saved_step": 7})
        status = jobs.release(tx, running.id, attempt=1, now=13.0, lost=False, reason="paused")
        paused = jobs.get(tx, "default", id=running.id)
    assert (asked.status, asked.pause_requested) == (JobStatus.RUNNING, True)
    assert beat == Heartbeat(cancel_requested=False, pause_requested=True)
    assert status is paused.status is JobStatus.PAUSED
    assert (paused.losses, paused.lease_owner, paused.lease_until, paused.phase) == (0, None, None, Phase.WAITING)
    assert (paused.pause_requested, paused.finished_at, paused.saved_step) == (False, None, 7)
    assert told(database, running) == ["submitted", "claimed", "pause_requested", "paused"]


def test_a_wish_to_pause_that_is_withdrawn_lets_the_job_wait_and_go_on(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        wishes.request_pause(tx, "default", id=running.id, now=11.0)
        assert not wishes.request_resume(tx, "default", id=running.id, now=12.0).pause_requested
        assert jobs.release(tx, running.id, attempt=1, now=13.0, lost=False, reason="r") is JobStatus.QUEUED
        again = jobs.claim(tx, "train", owner="host:2", now=14.0)
    assert again is not None and again.attempt == 2


def test_a_paused_job_can_be_cancelled_and_keeps_no_place(database: Database, waiting: JobRecord) -> None:
    with database.write() as tx:
        paused = wishes.request_pause(tx, "default", id=waiting.id, now=1.0)
        assert queue_positions(tx, [paused]) == {}
        ended = wishes.request_cancel(tx, "default", id=waiting.id, now=5.0)
    assert (ended.status, ended.finished_at) == (JobStatus.CANCELLED, 5.0)
    assert told(database, waiting) == ["submitted", "paused", "cancelled"]


def test_a_wish_to_cancel_outranks_a_pause(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        wishes.request_pause(tx, "default", id=running.id, now=11.0)
        wishes.request_cancel(tx, "default", id=running.id, now=12.0)
        assert jobs.release(tx, running.id, attempt=1, now=13.0, lost=False, reason="r") is JobStatus.CANCELLED


@pytest.mark.parametrize("end", ["succeed", "fail", "cancelled"])
@pytest.mark.parametrize("wish", [wishes.request_pause, wishes.request_resume])
def test_a_job_that_has_ended_refuses(
    database: Database, running: JobRecord, wish: Callable[..., JobRecord], end: str
) -> None:
    values: dict[str, Any] = {"succeed": {"result": {}}, "fail": {"error": JobError(code="c", message="m")}}
    with database.write() as tx:
        assert getattr(jobs, end)(tx, running.id, attempt=1, now=11.0, **values.get(end, {}))
        ended = jobs.get(tx, "default", id=running.id)
        with pytest.raises(Conflict, match="submit it again") as caught:
            wish(tx, "default", id=running.id, now=12.0)
        assert jobs.get(tx, "default", id=running.id) == ended
    assert caught.value.code == "job_terminal"


@pytest.mark.parametrize("wish", [wishes.request_pause, wishes.request_resume])
def test_a_foreign_job_is_not_found(database: Database, waiting: JobRecord, wish: Callable[..., JobRecord]) -> None:
    with database.write() as tx, pytest.raises(NotFound):
        wish(tx, "other", id=waiting.id, now=1.0)


def test_a_job_that_is_lost_while_asked_to_pause_is_paused_with_the_loss(
    database: Database, running: JobRecord
) -> None:
    with database.write() as tx:
        wishes.request_pause(tx, "default", id=running.id, now=11.0)
        assert sweep.reap(tx, 71.0) == [running.id]
        job = jobs.get(tx, "default", id=running.id)
    assert (job.status, job.losses) == (JobStatus.PAUSED, 1)


def test_a_paused_job_holds_its_files(database: Database, make_file: Callable[..., FileRecord], make_job: Make) -> None:
    file = make_file()
    job = make_job(spec={"training_file": file.id})
    with database.write() as tx:
        files.insert_file(tx, file)
        jobs.insert(tx, job)
        wishes.request_pause(tx, "default", id=job.id, now=1.0)
        with pytest.raises(Conflict, match=job.id):
            files.delete_file(tx, "default", id=file.id)
        wishes.request_cancel(tx, "default", id=job.id, now=2.0)
        files.delete_file(tx, "default", id=file.id)
