"""Jobs that wait: how one begins, and how many stand before it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import sqlalchemy as sa
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.store.database import Tx
from service.store.queue import QUEUE_OF, kinds_of
from service.store.records import JobKind, JobRecord, JobStatus, Phase, new_id
from service.store.tables import jobs

_ORDER: Final = (jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
_RANKED: Final = (
    sa.select(jobs.c.id, sa.func.row_number().over(order_by=_ORDER).label("place"))
    .where(jobs.c.status == JobStatus.QUEUED)
    .where(jobs.c.kind.in_(sa.bindparam("kinds", type_=jobs.c.kind.type, expanding=True)))
    .subquery()
)
_PLACES: Final = sa.select(_RANKED).where(
    _RANKED.c.id.in_(sa.bindparam("ids", type_=jobs.c.id.type, expanding=True))
)  # built once: to build it takes longer than to ask it


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


class Placed(Protocol):
    """What a place in a queue depends on."""

    @property
    def id(self) -> str:
        """Of the job."""

    @property
    def kind(self) -> JobKind:
        """Which says the queue."""

    @property
    def status(self) -> JobStatus:
        """Whether it waits."""


def _traceparent() -> str | None:
    """The span that is at work, if one is."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def queue_positions(tx: Tx, found: Sequence[Placed]) -> dict[str, int]:
    """By id, how many-th in its queue, from 1, each of these jobs is; those that do not wait are left out.

    An estimate: that a project with fewer running jobs goes first is left out, for it changes with every claim.
    """
    places: dict[str, int] = {}
    waiting = [job for job in found if job.status is JobStatus.QUEUED]
    for queue in {QUEUE_OF[job.kind] for job in waiting}:
        ids = [job.id for job in waiting if QUEUE_OF[job.kind] == queue]
        rows = tx.execute(_PLACES, {"kinds": list(kinds_of(queue)), "ids": ids})
        places |= {row.id: row.place for row in rows}
    return places
