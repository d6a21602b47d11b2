"""The job's row, from submission to its end.

The attempt number fences: whatever is written after a claim names the attempt that writes it, and a row that has moved
on refuses. The clock decides nothing but when a silent owner is given up (`sweep.py`). Terminal states never change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from service.store import catalog, deliveries, events, files
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.errors import InvalidValue, NotFound
from service.store.events import NewEvent
from service.store.paging import window
from service.store.queue import kinds_of
from service.store.records import JobError, JobKind, JobRecord, JobStatus, Page, Phase
from service.store.tables import jobs, record_of, values_of
from service.store.waiting import waiting_job

LEASE_SECONDS: Final = 60.0
BACKOFF_SECONDS: Final = (2.0, 10.0, 30.0)
"""How long a job waits after its first, second, further loss: a sick machine should not eat it at once."""

_UPDATABLE = frozenset({"phase", "progress", "resolved", "saved_step"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The answer to a sign of life that was accepted."""

    cancel_requested: bool
    pause_requested: bool
    keep_requested: bool = False


def insert(tx: Tx, job: JobRecord) -> None:
    """The job waits; every file and tuned model that its spec names exists and stays until the job has ended.

    Raises:
        NotFound: one does not exist in the job's project.
    """
    named = [job.spec.get(field) or "" for field in ("model", "of_model")]
    catalog.hold_models(tx, job.project, names=[*named, *job.spec.get("models", ())])
    files.hold(tx, job.project, ids=files.named_in(job.spec))
    error = None if job.error is None else asdict(job.error)
    tx.execute(sa.insert(jobs).values({**values_of(job, jobs), "error": error}))
    events.append(tx, events.submitted(job))


def get(tx: Tx, project: str, *, id: str) -> JobRecord:
    """The job.

    Raises:
        NotFound: the project has no such job.
    """
    row = tx.execute(_one(project, id)).one_or_none()
    if row is None:
        raise NotFound("job", id)
    return _record(row)


def by_ids(tx: Tx, project: str, *, ids: Sequence[str]) -> dict[str, JobRecord]:
    """Those of these jobs that the project has, by id."""
    query = sa.select(jobs).where(jobs.c.project == project, jobs.c.id.in_(ids))
    return {job.id: job for job in map(_record, tx.execute(query))}


def page(
    tx: Tx,
    project: str,
    *,
    kinds: Sequence[JobKind],
    page: Page,
    status: JobStatus | None = None,
) -> tuple[list[JobRecord], bool]:
    """A window of the project's jobs of these kinds, in that status; whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(jobs).where(jobs.c.project == project, jobs.c.kind.in_(kinds))
    in_status = [] if status is None else [jobs.c.status == status]
    rows, more = window(tx, query, table=jobs, page=page, where=in_status)
    return [_record(row) for row in rows], more


def queued_twin(
    tx: Tx, kind: JobKind, *, subject: str, spec: Mapping[str, Any] | None = None, may_run: bool = False
) -> JobRecord | None:
    """A job of that kind on that subject that still waits, and goes on waiting until this transaction ends.

    With `spec` it is one that was asked for just that: one which may fail for more reasons is no twin. One that
    `may_run` may have been claimed already.
    """
    among = [JobStatus.QUEUED, *([JobStatus.RUNNING] if may_run else [])]
    query = sa.select(jobs).where(jobs.c.subject == subject, jobs.c.status.in_(among), jobs.c.kind == kind)
    found = map(_record, tx.execute(query.order_by(jobs.c.created_at).with_for_update()))
    return next((job for job in found if spec is None or job.spec == spec), None)


def order_index(tx: Tx, collection: CollectionRecord, *, now: float) -> JobRecord:
    """A job waits that will index the collection as it is when it begins: one that waited already, or a new one."""
    spec = {"collection": collection.id}
    twin = queued_twin(tx, JobKind.INDEX, subject=collection.id, spec=spec)
    if twin is not None:
        return twin
    job = waiting_job(JobKind.INDEX, project=collection.project, spec=spec, now=now, subject=collection.id)
    insert(tx, job)
    return job


def claim(tx: Tx, queue: str, *, owner: str, now: float) -> JobRecord | None:
    """The best waiting job of the queue runs under `owner` with a new attempt number and a lease of 60 s.

    Best: highest priority, then the project with the fewest running jobs, then the oldest. No job is claimed twice.
    """
    best, other = jobs.alias("best"), jobs.alias("other")
    running = sa.select(sa.func.count()).where(other.c.project == best.c.project, other.c.status == JobStatus.RUNNING)
    choice = (
        sa.select(best.c.id)
        .where(best.c.status == JobStatus.QUEUED, best.c.kind.in_(kinds_of(queue)), best.c.run_after <= now)
        .order_by(best.c.priority.desc(), running.scalar_subquery(), best.c.created_at, best.c.id)
        .limit(1)
        .with_for_update(of=best, skip_locked=True)  # SQLite has one writer at a time and no such clause
    )
    taken = {"attempt": jobs.c.attempt + 1, "lease_owner": owner, "lease_until": now + LEASE_SECONDS}
    statement = (
        sa.update(jobs)
        .where(jobs.c.id == choice.scalar_subquery(), jobs.c.status == JobStatus.QUEUED)
        .values(status=JobStatus.RUNNING, phase=Phase.LOADING, **taken)
        .values(started_at=sa.func.coalesce(jobs.c.started_at, now), doorbell_at=None)
        .returning(*jobs.c)
    )
    row = tx.execute(statement).one_or_none()
    if row is None:
        return None
    job = _record(row)
    _tell(tx, job, at=now, type="claimed", message=f"Attempt {job.attempt} began.", data={"owner": owner})
    return job


def heartbeat(tx: Tx, id: str, *, attempt: int, now: float, update: Mapping[str, Any]) -> Heartbeat | None:
    """The lease counts for another 60 s and the values of `update` replace the old ones.

    `update` may hold phase, progress, resolved and saved_step, which never falls: an attempt that had to begin
    further back, behind a damaged checkpoint, has not come further until it has passed the old place.

    None if the attempt is fenced: another one may run. An expired lease that nobody reaped yet is renewed, so that an
    outage of the database costs no running job. A new phase is an event.
    """
    if unknown := set(update) - _UPDATABLE:
        raise InvalidValue(f"A heartbeat cannot change {', '.join(sorted(unknown))}")
    fence = _fence(id, attempt)
    before = tx.execute(sa.select(jobs.c.phase, jobs.c.saved_step).where(fence).with_for_update()).one_or_none()
    if before is None:
        return None
    further = {"saved_step": max(before.saved_step, update.get("saved_step", 0))}
    beat = sa.update(jobs).where(fence).values({**update, **further, "lease_until": now + LEASE_SECONDS})
    columns = (jobs.c[name] for name in ("cancel_requested", "pause_requested", "keep_requested"))
    wishes = tx.execute(beat.returning(*columns)).one()
    phase = update.get("phase", before.phase)
    if phase != before.phase:
        change = NewEvent(job_id=id, attempt=attempt, at=now, type="phase", message=f"{phase}", data={"phase": phase})
        events.append(tx, change)
    return Heartbeat(**wishes._mapping)


def succeed(tx: Tx, id: str, *, attempt: int, now: float, result: Mapping[str, Any]) -> bool:
    """The job has succeeded with this result; False if the attempt is fenced and nothing may be published.

    After a commit whose answer was lost, False may mean that it was applied: `get` then shows the attempt's own end.
    """
    event = NewEvent(job_id=id, attempt=attempt, at=now, type="finished", message="The job succeeded.")
    return _move(tx, event, values={"status": JobStatus.SUCCEEDED, "finished_at": now, "result": result})


def fail(tx: Tx, id: str, *, attempt: int, now: float, error: JobError) -> bool:
    """The job has failed for good with this error; False if the attempt is fenced."""
    event = NewEvent(
        job_id=id,
        attempt=attempt,
        at=now,
        level="error",
        type="failed",
        message=error.message,
        data={"code": error.code},
    )
    return _move(tx, event, values={"status": JobStatus.FAILED, "finished_at": now, "error": asdict(error)})


def cancelled(tx: Tx, id: str, *, attempt: int, now: float) -> bool:
    """The running job has ended as cancelled; False if the attempt is fenced."""
    event = NewEvent(job_id=id, attempt=attempt, at=now, type="cancelled", message="The job was cancelled as it ran.")
    return _move(tx, event, values={"status": JobStatus.CANCELLED, "finished_at": now})


def release(tx: Tx, id: str, *, attempt: int, now: float, lost: bool, reason: str) -> JobStatus | None:
    """The job waits again, or what was wished of it came true: `cancelled`, `paused`; `failed` at its last loss.

    One that was to keep its best and has saved nothing is cancelled: there is nothing to go on from.

    A lost attempt (crash, silent worker) counts and is repeated after a pause; a drained one does not. The losses of a
    job that has saved more since its last loss are forgiven: what ends it is to die at one place. None if fenced.
    """
    row = tx.execute(sa.select(jobs).where(_fence(id, attempt)).with_for_update()).one_or_none()
    if row is None:
        return None
    job = _record(row)
    if job.cancel_requested or (job.keep_requested and job.saved_step == 0):
        cancelled(tx, id, attempt=attempt, now=now)
        return JobStatus.CANCELLED
    losses = _losses(job) if lost else job.losses
    if lost:
        tx.execute(sa.update(jobs).where(_fence(id, attempt)).values(losses=losses, lost_at_step=job.saved_step))
    if lost and losses >= job.max_losses:
        message = f"{losses} attempts were lost, the last one because: {reason}. Find the cause, then submit it again."
        fail(tx, id, attempt=attempt, now=now, error=JobError(code="worker_lost", message=message, retryable=True))
        return JobStatus.FAILED
    status = JobStatus.PAUSED if job.pause_requested else JobStatus.QUEUED
    event = NewEvent(
        job_id=id,
        attempt=attempt,
        at=now,
        level="warn" if lost else "info",
        type="paused" if job.pause_requested else "released",
        message=reason,
        data={"losses": losses},
    )
    pause = BACKOFF_SECONDS[min(losses, len(BACKOFF_SECONDS)) - 1] if lost else 0.0
    _move(tx, event, values={"status": status, "phase": Phase.WAITING, "run_after": now + pause})
    return status


def _losses(job: JobRecord) -> int:
    """How many there are with the one that has just come."""
    return 1 if job.saved_step > job.lost_at_step else job.losses + 1


def locked(tx: Tx, project: str, *, id: str) -> JobRecord:
    """The job, which nobody else changes before this transaction ends.

    Raises:
        NotFound: the project has no such job.
    """
    row = tx.execute(_one(project, id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("job", id)
    return _record(row)


def change(tx: Tx, job: JobRecord, *, event: NewEvent, values: Mapping[str, Any]) -> None:
    """The locked job has these values, and the event says so; an end will be told to webhook endpoints."""
    tx.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**values))
    events.append(tx, event)
    if status := values.get("status"):
        deliveries.announce(tx, job.id, project=job.project, kind=job.kind, status=status, now=event.at)


def _move(tx: Tx, event: NewEvent, *, values: Mapping[str, Any]) -> bool:
    """The running job gave up its lease and has these values, and the event says so; False if fenced.

    A wish to pause ends with the attempt that it was meant for. An end will be told to webhook endpoints.
    """
    given_up = {"lease_owner": None, "lease_until": None, "pause_requested": False}
    fence = _fence(event.job_id, event.attempt)
    move = sa.update(jobs).where(fence).values({**given_up, **values}).returning(jobs.c.project, jobs.c.kind)
    moved = tx.execute(move).one_or_none()
    if moved is None:
        return False
    events.append(tx, event)
    project, kind, at = moved.project, moved.kind, event.at
    deliveries.announce(tx, event.job_id, project=project, kind=kind, status=values["status"], now=at)
    return True


def _fence(id: str, attempt: int) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id == id, jobs.c.attempt == attempt, jobs.c.status == JobStatus.RUNNING)


def _one(project: str, id: str) -> sa.Select[Any]:
    return sa.select(jobs).where(jobs.c.project == project, jobs.c.id == id)


def _record(row: sa.Row[Any]) -> JobRecord:
    job = record_of(JobRecord, row)
    return job if row.error is None else replace(job, error=JobError(**row.error))


def _tell(tx: Tx, job: JobRecord, *, at: float, type: str, message: str, data: Mapping[str, Any] | None = None) -> None:
    events.append(tx, NewEvent(job_id=job.id, attempt=job.attempt, at=at, type=type, message=message, data=data or {}))
