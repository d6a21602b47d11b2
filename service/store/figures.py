"""Numbers over all projects, for whoever watches the service: how much waits, runs and has ended."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from service.store.database import Tx
from service.store.queue import QUEUE_OF, QUEUES
from service.store.records import JobKind, JobStatus
from service.store.tables import jobs

_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The jobs of one kind that ended in one way."""

    count: int
    seconds: float
    """From their first start to their end, together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What the jobs' rows say at one moment."""

    waiting: Mapping[str, int]
    """By queue."""
    running: Mapping[JobKind, int]
    ended: Mapping[tuple[JobKind, JobStatus], Ended]
    pairs_per_second: float
    """Of all trainings that run, together."""


def read(tx: Tx) -> Figures:
    """The figures now."""
    spent = sa.func.coalesce(sa.func.sum(jobs.c.finished_at - jobs.c.started_at), 0.0)
    counted = sa.select(jobs.c.kind, jobs.c.status, sa.func.count().label("num_jobs"), spent.label("seconds"))
    rows = tx.execute(counted.group_by(jobs.c.kind, jobs.c.status)).all()
    waiting = dict.fromkeys(QUEUES, 0)
    for row in rows:
        if row.status is JobStatus.QUEUED:
            waiting[QUEUE_OF[row.kind]] += row.num_jobs
    told = sa.select(jobs.c.progress).where(jobs.c.status == JobStatus.RUNNING, jobs.c.kind == JobKind.TRAIN)
    return Figures(
        waiting=waiting,
        running={row.kind: row.num_jobs for row in rows if row.status is JobStatus.RUNNING},
        ended={
            (row.kind, row.status): Ended(count=row.num_jobs, seconds=float(row.seconds))
            for row in rows
            if row.status in _ENDED
        },
        pairs_per_second=sum(float(row.progress.get("pairs_per_second") or 0.0) for row in tx.execute(told)),
    )
