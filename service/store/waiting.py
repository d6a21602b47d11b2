"""Jobs that wait: how one begins, and how many stand before it."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.store.database import Tx
from service.store.queue import QUEUE_OF, kinds_of
from service.store.records import JobKind, JobRecord, JobStatus, Phase, new_id
from service.store.tables import jobs


def waiting_job(
    kind: JobKind,
    *,
    project: str,
    spec: Mapping[str, Any],
    now: float,
    subject: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> JobRecord:
    """A job of that kind, not yet inserted, that nobody has claimed."""
    return JobRecord(
        id=new_id("ftjob" if kind is JobKind.TRAIN else "job"),
        project=project,
        kind=kind,
        status=JobStatus.QUEUED,
        phase=Phase.WAITING,
        created_at=now,
        spec=spec,
        subject=subject,
        metadata=metadata or {},
        traceparent=_traceparent(),
    )


def _traceparent() -> str | None:
    """The span that is at work, if one is."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def queue_positions(tx: Tx, found: Sequence[JobRecord]) -> dict[str, int]:
    """By id, how many-th in its queue, from 1, each of these jobs is; those that do not wait are left out.

    An estimate: that a project with fewer running jobs goes first is left out, for it changes with every claim.
    """
    places: dict[str, int] = {}
    waiting = [job for job in found if job.status is JobStatus.QUEUED]
    for queue in {QUEUE_OF[job.kind] for job in waiting}:
        order = (jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
        ranked = sa.select(jobs.c.id, sa.func.row_number().over(order_by=order).label("place"))
        ranked = ranked.where(jobs.c.status == JobStatus.QUEUED, jobs.c.kind.in_(kinds_of(queue)))
        table, ids = ranked.subquery(), [job.id for job in waiting if QUEUE_OF[job.kind] == queue]
        rows = tx.execute(sa.select(table.c.id, table.c.place).where(table.c.id.in_(ids)))
        places |= {row.id: row.place for row in rows}
    return places
