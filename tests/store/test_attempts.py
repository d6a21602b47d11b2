from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.store import events, jobs, wishes
from service.store.database import Database, Tx
from service.store.errors import Conflict, InvalidValue
from service.store.jobs import Heartbeat
from service.store.records import JobError, JobRecord, JobStatus, Page, Phase

Make = Callable[..., JobRecord]
EVERYTHING = Page(limit=100, descending=False)
ERROR = JobError(code="nan_loss", message="The loss left the numbers.", param="learning_rate", user=True)


@pytest.fixture
def running(database: Database, make_job: Make) -> JobRecord:
    """A job whose first attempt runs since time 10."""
    with database.write() as tx:
        jobs.insert(tx, make_job())
        claimed = jobs.claim(tx, "train", owner="host:1", now=10.0)
    assert claimed is not None
    return claimed


def stored(database: Database, job: JobRecord) -> JobRecord:
    with database.read() as tx:
        return jobs.get(tx, job.project, id=job.id)


def types(tx: Tx, job: JobRecord) -> list[str]:
    return [event.type for event in events.page(tx, job.id, page=EVERYTHING)[0]]


def told(database: Database, job: JobRecord) -> list[str]:
    with database.read() as tx:
        return types(tx, job)


def test_a_heartbeat_renews_the_lease_and_carries_news(database: Database, running: JobRecord) -> None:
    update = {"phase": "training", "progress": {"step": 3, "loss": 0.5}, "resolved": {"precision": "bf16"}}
    with database.write() as tx:
        beat = jobs.heartbeat(tx, running.id, attempt=1, now=500.0, update=update)  # long expired, but not reaped
    job = stored(database, running)
    assert beat == Heartbeat(cancel_requested=False, pause_requested=False)
    assert (job.lease_until, job.phase, job.progress, job.resolved) == (
        560.0,
        Phase.TRAINING,
        {"step": 3, "loss": 0.5},
        {"precision": "bf16"},
    )
    assert told(database, running) == ["submitted", "claimed", "phase"]


def test_a_heartbeat_without_news_writes_no_event(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        jobs.heartbeat(tx, running.id, attempt=1, now=11.0, update={})
        jobs.heartbeat(tx, running.id, attempt=1, now=12.0, update={"phase": Phase.LOADING})
    assert told(database, running) == ["submitted", "claimed"]


@pytest.mark.parametrize("update", [{"status": "succeeded"}, {"attempt": 9}, {"phase": "dancing"}])
def test_a_heartbeat_can_change_nothing_else(database: Database, running: JobRecord, update: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue), database.write() as tx:
        jobs.heartbeat(tx, running.id, attempt=1, now=11.0, update=update)
    assert stored(database, running) == running


def test_success_failure_and_cancellation_are_written_whole(database: Database, make_job: Make) -> None:
    ends: list[tuple[JobStatus, Callable[..., bool], dict[str, Any]]] = [
        (JobStatus.SUCCEEDED, jobs.succeed, {"result": {"fingerprint": "f"}}),
        (JobStatus.FAILED, jobs.fail, {"error": ERROR}),
        (JobStatus.CANCELLED, jobs.cancelled, {}),
    ]
    for status, end, values in ends:
        with database.write() as tx:
            jobs.insert(tx, make_job())
            job = jobs.claim(tx, "train", owner="o", now=1.0)
            assert job is not None
            assert end(tx, job.id, attempt=1, now=2.0, **values)
        ended = stored(database, job)
        assert (ended.status, ended.finished_at, ended.lease_owner, ended.lease_until) == (status, 2.0, None, None)
        assert {"result": ended.result, "error": ended.error} == {"result": {}, "error": None, **values}
        assert len(told(database, job)) == 3


def every_write(tx: Tx, job: JobRecord, *, attempt: int) -> list[object]:
    """What each function of an owner answers to this attempt."""
    who: dict[str, Any] = {"attempt": attempt, "now": 99.0}
    return [
        jobs.heartbeat(tx, job.id, **who, update={"progress": {"step": 9}, "phase": "exporting"}),
        jobs.succeed(tx, job.id, **who, result={"zombie": True}),
        jobs.fail(tx, job.id, **who, error=ERROR),
        jobs.cancelled(tx, job.id, **who),
        jobs.release(tx, job.id, **who, lost=True, reason="zombie"),
    ]


def test_a_fenced_attempt_writes_nothing(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        assert jobs.release(tx, running.id, attempt=1, now=20.0, lost=False, reason="drained") is JobStatus.QUEUED
        for attempt in (0, 1, 2):  # nobody owns it
            assert every_write(tx, running, attempt=attempt) == [None, False, False, False, None]
        again = jobs.claim(tx, "train", owner="host:2", now=30.0)
        assert every_write(tx, running, attempt=1) == [None, False, False, False, None]  # now attempt 2 does
        assert jobs.get(tx, "default", id=running.id) == again
        assert types(tx, running) == ["submitted", "claimed", "released", "claimed"]


@pytest.mark.parametrize("end", ["succeed", "fail", "cancelled"])
def test_a_terminal_state_never_changes(database: Database, running: JobRecord, end: str) -> None:
    values: dict[str, dict[str, Any]] = {"succeed": {"result": {}}, "fail": {"error": ERROR}}
    extra = values.get(end, {})
    with database.write() as tx:
        assert getattr(jobs, end)(tx, running.id, attempt=1, now=20.0, **extra)
        ended = jobs.get(tx, "default", id=running.id)
        assert every_write(tx, running, attempt=1) == [None, False, False, False, None]
        assert jobs.claim(tx, "train", owner="o", now=30.0) is None
        assert jobs.get(tx, "default", id=running.id) == ended


def test_a_drain_counts_no_loss_and_waits_for_nothing(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        jobs.release(tx, running.id, attempt=1, now=20.0, lost=False, reason="the worker is shutting down")
    job = stored(database, running)
    assert (job.status, job.losses, job.run_after, job.doorbell_at) == (JobStatus.QUEUED, 0, 20.0, None)
    assert (job.phase, job.lease_owner, job.lease_until) == (Phase.WAITING, None, None)


def test_a_lost_job_waits_longer_each_time_and_fails_at_its_limit(database: Database, make_job: Make) -> None:
    job, now, pauses = make_job(max_losses=5), 100.0, []
    with database.write() as tx:
        jobs.insert(tx, job)
        for attempt in range(1, 6):
            assert jobs.claim(tx, "train", owner="o", now=now) is not None
            status = jobs.release(tx, job.id, attempt=attempt, now=now, lost=True, reason="killed_maybe_oom")
            run_after = jobs.get(tx, "default", id=job.id).run_after
            pauses.append(run_after - now)
            assert attempt == 5 or jobs.claim(tx, "train", owner="o", now=run_after - 0.1) is None
            now = run_after
        failed = jobs.get(tx, "default", id=job.id)
    assert pauses[:4] == [2.0, 10.0, 30.0, 30.0]
    assert status is failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert (failed.losses, failed.error.code, failed.error.retryable) == (5, "worker_lost", True)
    assert "killed_maybe_oom" in failed.error.message


def test_cancelling_a_waiting_job_ends_it_at_once(database: Database, make_job: Make) -> None:
    job = make_job()
    with database.write() as tx:
        jobs.insert(tx, job)
        ended = wishes.request_cancel(tx, "default", id=job.id, now=5.0)
        assert jobs.claim(tx, "train", owner="o", now=6.0) is None
        assert wishes.request_cancel(tx, "default", id=job.id, now=7.0) == ended  # again: the same answer
    assert (ended.status, ended.finished_at) == (JobStatus.CANCELLED, 5.0)
    assert told(database, job) == ["submitted", "cancelled"]


def test_cancelling_a_running_job_is_heard_by_its_next_heartbeat(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        asked = wishes.request_cancel(tx, "default", id=running.id, now=11.0)
        assert wishes.request_cancel(tx, "default", id=running.id, now=12.0) == asked
        beat = jobs.heartbeat(tx, running.id, attempt=1, now=13.0, update={})
    assert (asked.status, beat) == (JobStatus.RUNNING, Heartbeat(cancel_requested=True, pause_requested=False))
    assert told(database, running) == ["submitted", "claimed", "cancel_requested"]


def test_a_job_that_is_lost_while_asked_to_stop_is_cancelled(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        wishes.request_cancel(tx, "default", id=running.id, now=11.0)
        status = jobs.release(tx, running.id, attempt=1, now=12.0, lost=True, reason="crashed")
    assert status is stored(database, running).status is JobStatus.CANCELLED


def test_a_finished_job_cannot_be_cancelled(database: Database, running: JobRecord) -> None:
    with database.write() as tx:
        jobs.succeed(tx, running.id, attempt=1, now=11.0, result={})
        with pytest.raises(Conflict) as caught:
            wishes.request_cancel(tx, "default", id=running.id, now=12.0)
    assert caught.value.code == "job_terminal"


def test_cancel_races_with_finish_and_one_of_them_wins(database: Database, make_job: Make) -> None:
    def finish(job: JobRecord) -> bool:
        with database.write() as tx:
            beat = jobs.heartbeat(tx, job.id, attempt=1, now=2.0, update={})
            assert beat is not None
            if beat.cancel_requested:
                return not jobs.cancelled(tx, job.id, attempt=1, now=3.0)
            return jobs.succeed(tx, job.id, attempt=1, now=3.0, result={})

    def cancel(job: JobRecord) -> bool:
        try:
            with database.write() as tx:
                return wishes.request_cancel(tx, "default", id=job.id, now=2.5).cancel_requested
        except Conflict:
            return False

    with ThreadPoolExecutor(2) as threads:
        for _ in range(20):
            with database.write() as tx:
                jobs.insert(tx, make_job())
                job = jobs.claim(tx, "train", owner="o", now=1.0)
            assert job is not None
            finished, asked = threads.submit(finish, job), threads.submit(cancel, job)
            assert finished.result() != asked.result()
            assert stored(database, job).status is (JobStatus.SUCCEEDED if finished.result() else JobStatus.CANCELLED)
