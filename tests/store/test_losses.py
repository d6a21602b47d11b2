"""Losses count against a job that does not come further, and are forgiven to one that does."""

from collections.abc import Callable

import pytest

from service.store import jobs, sweep
from service.store.database import Database, Tx
from service.store.records import JobRecord, JobStatus

Make = Callable[..., JobRecord]
Loss = Callable[[Tx, JobRecord, float], None]


def crash(tx: Tx, job: JobRecord, now: float) -> None:
    jobs.release(tx, job.id, attempt=job.attempt, now=now, lost=True, reason="crashed")


def silence(tx: Tx, job: JobRecord, now: float) -> None:
    assert sweep.reap(tx, now) == [job.id]


def attempts(database: Database, job: JobRecord, *, saved: list[int], loss: Loss) -> list[tuple[JobStatus, int]]:
    """Where the job stands after attempts that saved up to these steps and were lost."""
    found, now = [], 0.0
    with database.write() as tx:
        jobs.insert(tx, job)
        for step in saved:
            now += 1000.0
            claimed = jobs.claim(tx, "train", owner="o", now=now)
            assert claimed is not None
            if step:
                jobs.heartbeat(tx, job.id, attempt=claimed.attempt, now=now, update={"saved_step": step})
            loss(tx, claimed, now + 100.0)
            after = jobs.get(tx, "default", id=job.id)
            found.append((after.status, after.losses))
    return found


LOSSES = pytest.mark.parametrize("loss", [crash, silence])


@LOSSES
def test_a_job_that_dies_three_times_at_one_place_has_failed(database: Database, make_job: Make, loss: Loss) -> None:
    found = attempts(database, make_job(), saved=[6, 6, 6], loss=loss)
    assert found == [(JobStatus.QUEUED, 1), (JobStatus.QUEUED, 2), (JobStatus.FAILED, 3)]


@LOSSES
def test_a_job_that_comes_further_each_time_never_fails_of_its_losses(
    database: Database, make_job: Make, loss: Loss
) -> None:
    assert attempts(database, make_job(), saved=[1, 2, 3, 4, 5, 6], loss=loss) == [(JobStatus.QUEUED, 1)] * 6


@LOSSES
def test_losses_begin_anew_behind_each_new_checkpoint(database: Database, make_job: Make, loss: Loss) -> None:
    found = attempts(database, make_job(), saved=[0, 0, 5, 5, 5], loss=loss)
    assert [losses for _, losses in found] == [1, 2, 1, 2, 3]
    assert found[-1][0] is JobStatus.FAILED


def test_an_attempt_that_had_to_begin_further_back_has_not_come_further(database: Database, make_job: Make) -> None:
    found = attempts(database, make_job(), saved=[9, 4, 8], loss=crash)
    assert found == [(JobStatus.QUEUED, 1), (JobStatus.QUEUED, 2), (JobStatus.FAILED, 3)]
