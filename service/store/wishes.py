"""What a user may wish of a job: that it ends, that it ends with the best it has made, that it pauses, that it goes on.

A job that nobody works on obeys at once. A running one is only asked: its owner hears the wish within a second, drops
the unfinished step, saves the last finished one, and then the row moves (`jobs.release`). A wish to cancel stands for
good and outranks a pause; a wish to pause can be withdrawn.
"""

from typing import Any

from service.store import jobs
from service.store.database import Tx
from service.store.errors import Conflict
from service.store.events import NewEvent
from service.store.records import JobKind, JobRecord, JobStatus, Phase

_BEFORE_STEPS = (Phase.LOADING, Phase.BASELINE)


def request_cancel(tx: Tx, project: str, *, id: str, now: float) -> JobRecord:
    """A waiting or paused job is cancelled, a running one is asked to stop, a cancelled one stays.

    Raises:
        NotFound: the project has no such job.
        Conflict: it has succeeded or failed (`job_terminal`).
    """
    job = jobs.locked(tx, project, id=id)
    if job.status in (JobStatus.QUEUED, JobStatus.PAUSED):
        ended = {"status": JobStatus.CANCELLED, "finished_at": now, "cancel_requested": True}
        _tell(tx, job, now=now, said=("cancelled", "The job was cancelled before it ran."), values=ended)
    elif job.status is JobStatus.RUNNING and not job.cancel_requested:
        asked = {"cancel_requested": True}
        _tell(tx, job, now=now, said=("cancel_requested", "The job was asked to stop."), values=asked)
    elif job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
        raise Conflict("job_terminal", f"The job has {job.status} already and cannot be cancelled")
    return jobs.get(tx, project, id=id)


def request_keep(tx: Tx, project: str, *, id: str, now: float) -> JobRecord:
    """A training that has made steps is asked to end early and publish the best of them; any other is cancelled.

    A waiting or paused one that has saved steps waits for a worker, which publishes them. The wish stands for good, and
    one to cancel outranks it; the job ends as one that was not asked: `succeeded`, with a model and its report.

    Raises:
        NotFound: the project has no such job.
        Conflict: it has ended (`job_terminal`), or makes no model (`conflict`).
    """
    job = jobs.locked(tx, project, id=id)
    _refuse_ended(job, "kept")
    if job.kind is not JobKind.TRAIN:
        raise Conflict("conflict", f"The job is one of kind {job.kind} and makes no model to keep; cancel it without")
    if job.cancel_requested or job.keep_requested:
        return job
    if job.saved_step == 0 and (job.status is not JobStatus.RUNNING or job.phase in _BEFORE_STEPS):
        return request_cancel(tx, project, id=id, now=now)
    asked: dict[str, Any] = {"keep_requested": True, "pause_requested": False}
    if job.status is JobStatus.PAUSED:
        asked |= {"status": JobStatus.QUEUED, "run_after": now, "doorbell_at": None}
    _tell(tx, job, now=now, said=("keep_requested", "The job was asked to end early and keep its best."), values=asked)
    return jobs.get(tx, project, id=id)


def request_pause(tx: Tx, project: str, *, id: str, now: float) -> JobRecord:
    """A waiting job is paused, a running one is asked to pause, a paused one stays.

    One that was asked to stop or to keep its best is not asked to pause as well: it ends soon.

    Raises:
        NotFound: the project has no such job.
        Conflict: it has ended (`job_terminal`).
    """
    job = jobs.locked(tx, project, id=id)
    _refuse_ended(job, "paused")
    if job.keep_requested:
        return job
    if job.status is JobStatus.QUEUED:
        paused = {"status": JobStatus.PAUSED, "doorbell_at": None}
        _tell(tx, job, now=now, said=("paused", "The job was paused before it ran."), values=paused)
    elif job.status is JobStatus.RUNNING and not (job.pause_requested or job.cancel_requested):
        asked = {"pause_requested": True}
        _tell(tx, job, now=now, said=("pause_requested", "The job was asked to pause."), values=asked)
    return jobs.get(tx, project, id=id)


def request_resume(tx: Tx, project: str, *, id: str, now: float) -> JobRecord:
    """A paused job waits again, at the place that its age gives it, and a wish to pause is withdrawn; others stay.

    A running job that has heard the wish already stops, and then waits instead of being paused.

    Raises:
        NotFound: the project has no such job.
        Conflict: it has ended (`job_terminal`).
    """
    job = jobs.locked(tx, project, id=id)
    _refuse_ended(job, "resumed")
    if job.status is JobStatus.PAUSED:
        again = {"status": JobStatus.QUEUED, "run_after": now, "doorbell_at": None}
        _tell(tx, job, now=now, said=("unpaused", "The job waits again."), values=again)
    elif job.pause_requested:
        withdrawn = {"pause_requested": False}
        _tell(tx, job, now=now, said=("unpaused", "The wish to pause was withdrawn."), values=withdrawn)
    return jobs.get(tx, project, id=id)


def _refuse_ended(job: JobRecord, done: str) -> None:
    if job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED):
        raise Conflict("job_terminal", f"The job is {job.status} and cannot be {done}; submit it again")


def _tell(tx: Tx, job: JobRecord, *, now: float, said: tuple[str, str], values: dict[str, Any]) -> None:
    """The job has these values, and an event of that type and message says so."""
    event = NewEvent(job_id=job.id, attempt=job.attempt, at=now, type=said[0], message=said[1])
    jobs.change(tx, job, event=event, values=values)
