"""What happened to a job, in order: rows that are only ever added, in the transaction of the change they tell of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from structlog.contextvars import get_contextvars

from service.store.database import Tx
from service.store.errors import BadCursor
from service.store.records import EventRecord, JobRecord, Page
from service.store.tables import job_events, record_of

_SUBMITTED: Final = "submitted"
_REQUEST: Final = "request"
"""As the lines of a log name it."""
_REQUEST_ID: Final = "request_id"
"""As answers name it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event that has no id yet."""

    job_id: str
    attempt: int
    at: float
    level: str = "info"
    type: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


def append(tx: Tx, event: NewEvent) -> None:
    """The event stands behind all earlier ones of its job.

    It is not fenced by itself: a worker appends only in a transaction whose heartbeat was accepted.
    """
    tx.execute(sa.insert(job_events).values(asdict(event)))


def submitted(job: JobRecord) -> NewEvent:
    """The first event of a job; it names the request that is at work, if one is, so that logs can be joined."""
    request = get_contextvars().get(_REQUEST)
    return NewEvent(
        job_id=job.id,
        attempt=job.attempt,
        at=job.created_at,
        type=_SUBMITTED,
        message=f"The {job.kind} job was submitted.",
        data={} if request is None else {_REQUEST_ID: request},
    )


def request_of(tx: Tx, job_id: str) -> str | None:
    """The request that led to the job, if one did."""
    first = sa.and_(job_events.c.job_id == job_id, job_events.c.type == _SUBMITTED)
    data = tx.execute(sa.select(job_events.c.data).where(first).order_by(job_events.c.id).limit(1)).scalar()
    return None if data is None else data.get(_REQUEST_ID)


def newest(tx: Tx, job_id: str) -> int:
    """The id of the job's last event; 0 where there is none."""
    query = sa.select(sa.func.max(job_events.c.id)).where(job_events.c.job_id == job_id)
    return int(tx.execute(query).scalar() or 0)


def since(tx: Tx, seen: Mapping[str, int], *, limit: int) -> list[EventRecord]:
    """The first events of these jobs that come after the one which was seen of each, in order.

    Within a job no event appears before one that is there already: whoever appends holds the job's row. Of two jobs the
    later numbers may be committed first, so each has a place of its own.
    """
    unseen = [sa.and_(job_events.c.job_id == job_id, job_events.c.id > id) for job_id, id in seen.items()]
    query = sa.select(job_events).where(sa.or_(sa.false(), *unseen)).order_by(job_events.c.id).limit(limit)
    return [record_of(EventRecord, row) for row in tx.execute(query)]


def page(tx: Tx, job_id: str, *, page: Page) -> tuple[list[EventRecord], bool]:
    """A window of the job's events, and whether more follow; the cursor is an event's id as text.

    Raises:
        BadCursor: `page.after` is no event's id.
    """
    query = sa.select(job_events).where(job_events.c.job_id == job_id)
    if page.after is not None:
        if not (page.after.isascii() and page.after.isdecimal() and len(page.after) <= 15):
            raise BadCursor(page.after)
        after = int(page.after)
        query = query.where(job_events.c.id < after if page.descending else job_events.c.id > after)
    order = job_events.c.id.desc() if page.descending else job_events.c.id.asc()
    rows = list(tx.execute(query.order_by(order).limit(page.limit + 1)))
    return [record_of(EventRecord, row) for row in rows[: page.limit]], len(rows) > page.limit
