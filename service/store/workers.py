"""Which workers are alive: each says so with every sweep, whether it has work or not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.paging import window
from service.store.records import JobKind, JobStatus, Page, Phase
from service.store.signal_tables import workers
from service.store.signals import WorkerRecord
from service.store.tables import jobs, record_of, values_of

SILENT_SECONDS: Final = 60.0
"""After which a worker counts as gone, as its lease does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What a worker does."""

    worker: str
    job_id: str
    project: str
    kind: JobKind
    phase: Phase


def see(tx: Tx, worker: WorkerRecord) -> None:
    """The worker is alive at its `seen_at`; those that were silent for a lease are forgotten."""
    values = values_of(worker, workers)
    seen = insert(tx, workers).values(values)
    tx.execute(seen.on_conflict_do_update(index_elements=["id"], set_=values))
    tx.execute(sa.delete(workers).where(workers.c.seen_at < worker.seen_at - SILENT_SECONDS))


def leave(tx: Tx, id: str) -> None:
    """The worker has ended."""
    tx.execute(sa.delete(workers).where(workers.c.id == id))


def alive(tx: Tx, *, now: float, page: Page) -> tuple[list[WorkerRecord], bool]:
    """A window of the workers that showed a sign of life within a lease, and whether more follow.

    Raises:
        BadCursor: `page.after` is no worker.
    """
    recent = workers.c.seen_at >= now - SILENT_SECONDS
    rows, more = window(tx, sa.select(workers), table=workers, page=page, where=[recent])
    found = [record_of(WorkerRecord, row) for row in rows]
    return [replace(worker, queues=tuple(worker.queues)) for worker in found], more


def running(tx: Tx, ids: Sequence[str]) -> dict[str, Running]:
    """By worker, what those of these that have work do."""
    columns = (jobs.c.lease_owner, jobs.c.id, jobs.c.project, jobs.c.kind, jobs.c.phase)
    held = sa.and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_owner.in_(ids))
    rows = tx.execute(sa.select(*columns).where(held).order_by(jobs.c.lease_until))
    return {
        row.lease_owner: Running(
            worker=row.lease_owner, job_id=row.id, project=row.project, kind=row.kind, phase=row.phase
        )
        for row in rows
    }
