"""What endpoints are told: a row for each event and endpoint, written in the transaction of what it tells of.

A sender claims a row by moving its next try ahead, so that two senders do not try it at once and one that dies loses
nothing: the row is due again. An event may therefore arrive twice, under one `webhook-id`, and never not at all.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from service.store.database import Tx
from service.store.errors import NotFound
from service.store.paging import window
from service.store.records import JobKind, JobStatus, Page, new_id
from service.store.signal_tables import webhook_deliveries, webhook_endpoints
from service.store.signals import DeliveryRecord, DeliveryStatus, event_type
from service.store.tables import record_of, values_of

CLAIM_SECONDS: Final = 60.0
"""After which a try that nobody has told the end of is made again; a try takes a few seconds more than 10 at most."""

KEPT_SECONDS: Final = 30 * 24 * 3600.0
"""How long the log reaches back."""


def announce(tx: Tx, job_id: str, *, project: str, kind: JobKind, status: JobStatus, now: float) -> None:
    """Every endpoint that asked for it will be told that the job has ended so; nothing is told of other changes."""
    type = event_type(kind, status)
    if type is None:
        return
    endpoints = sa.select(webhook_endpoints.c.id, webhook_endpoints.c.event_types)
    rows = tx.execute(endpoints.where(webhook_endpoints.c.project == project).with_for_update(read=True)).all()
    wanted = [row.id for row in rows if type in row.event_types]
    if not wanted:
        return
    old = sa.and_(webhook_deliveries.c.endpoint_id.in_(wanted), webhook_deliveries.c.created_at < now - KEPT_SECONDS)
    tx.execute(sa.delete(webhook_deliveries).where(old, webhook_deliveries.c.status != DeliveryStatus.PENDING))
    data = {"id": job_id} if kind is JobKind.TRAIN else {"id": job_id, "kind": kind}
    event_id = new_id("evt")
    for endpoint_id in wanted:
        _insert(
            tx,
            DeliveryRecord(
                id=new_id("whd"),
                endpoint_id=endpoint_id,
                event_id=event_id,
                event_type=type,
                event_at=now,
                data=data,
                created_at=now,
                next_at=now,
            ),
        )


def any_due(tx: Tx, *, now: float) -> bool:
    """Whether a delivery's time has come."""
    return tx.execute(sa.select(webhook_deliveries.c.id).where(_due(now)).limit(1)).first() is not None


def claim_due(tx: Tx, *, now: float, limit: int) -> list[DeliveryRecord]:
    """At most so many deliveries whose time has come, each with a new attempt number; nobody else has them for 60 s."""
    chosen = sa.select(webhook_deliveries.c.id).where(_due(now)).order_by(webhook_deliveries.c.next_at).limit(limit)
    ids = list(tx.execute(chosen.with_for_update(skip_locked=True)).scalars())
    if not ids:
        return []
    taken = {"attempts": webhook_deliveries.c.attempts + 1, "next_at": now + CLAIM_SECONDS, "tried_at": now}
    claim = sa.update(webhook_deliveries).where(webhook_deliveries.c.id.in_(ids), _due(now)).values(taken)
    return [_record(row) for row in tx.execute(claim.returning(*webhook_deliveries.c))]


def settle(tx: Tx, delivery: DeliveryRecord, *, status_code: int | None, detail: str, again_at: float | None) -> bool:
    """What came of the claimed try is known: delivered on a 2xx, else tried again then, or given up for None.

    False if another try has begun since, whose outcome counts instead.
    """
    succeeded = status_code is not None and 200 <= status_code < 300
    values: dict[str, Any] = {"status_code": status_code, "detail": detail, "next_at": None}
    if succeeded:
        values["status"] = DeliveryStatus.DELIVERED
    elif again_at is None:
        values["status"] = DeliveryStatus.FAILED
    else:
        values["next_at"] = again_at
    mine = sa.and_(webhook_deliveries.c.id == delivery.id, webhook_deliveries.c.attempts == delivery.attempts)
    pending = webhook_deliveries.c.status == DeliveryStatus.PENDING
    return tx.execute(sa.update(webhook_deliveries).where(mine, pending).values(values)).rowcount == 1


def page_deliveries(tx: Tx, endpoint_id: str, *, page: Page) -> tuple[list[DeliveryRecord], bool]:
    """A window of what the endpoint was or is to be told, and whether more follows.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(webhook_deliveries).where(webhook_deliveries.c.endpoint_id == endpoint_id)
    rows, more = window(tx, query, table=webhook_deliveries, page=page)
    return [_record(row) for row in rows], more


def get(tx: Tx, endpoint_id: str, *, id: str) -> DeliveryRecord:
    """What the endpoint was or is to be told.

    Raises:
        NotFound: the endpoint has no such delivery.
    """
    row = tx.execute(_one(endpoint_id, id)).one_or_none()
    if row is None:
        raise NotFound("webhook delivery", id)
    return _record(row)


def replay(tx: Tx, endpoint_id: str, *, id: str, now: float) -> DeliveryRecord:
    """The event will be told again under its old id: by a new delivery, or soon by one that waits.

    Raises:
        NotFound: the endpoint has no such delivery.
    """
    tx.execute(_one(endpoint_id, id).with_for_update())
    old = get(tx, endpoint_id, id=id)
    waiting = _hurried(tx, old, now=now)
    if waiting is not None:
        return waiting
    again = DeliveryRecord(
        id=new_id("whd"),
        endpoint_id=endpoint_id,
        event_id=old.event_id,
        event_type=old.event_type,
        event_at=old.event_at,
        data=old.data,
        created_at=now,
        next_at=now,
    )
    _insert(tx, again)
    return again


def _hurried(tx: Tx, event: DeliveryRecord, *, now: float) -> DeliveryRecord | None:
    """The delivery of the event that waits, if one does; its next try is due unless one is at work or near."""
    same = sa.and_(
        webhook_deliveries.c.endpoint_id == event.endpoint_id, webhook_deliveries.c.event_id == event.event_id
    )
    waits = sa.and_(same, webhook_deliveries.c.status == DeliveryStatus.PENDING)
    far = webhook_deliveries.c.next_at > now + CLAIM_SECONDS
    tx.execute(sa.update(webhook_deliveries).where(waits, far).values(next_at=now))
    row = tx.execute(sa.select(webhook_deliveries).where(waits)).first()
    return None if row is None else _record(row)


def body_of(delivery: DeliveryRecord) -> Mapping[str, Any]:
    """What is sent: the same at every try."""
    return {
        "id": delivery.event_id,
        "object": "event",
        "created_at": int(delivery.event_at),
        "type": delivery.event_type,
        "data": delivery.data,
    }


def _one(endpoint_id: str, id: str) -> sa.Select[Any]:
    mine = sa.and_(webhook_deliveries.c.endpoint_id == endpoint_id, webhook_deliveries.c.id == id)
    return sa.select(webhook_deliveries).where(mine)


def _due(now: float) -> sa.ColumnElement[bool]:
    return sa.and_(webhook_deliveries.c.status == DeliveryStatus.PENDING, webhook_deliveries.c.next_at <= now)


def _insert(tx: Tx, delivery: DeliveryRecord) -> None:
    tx.execute(sa.insert(webhook_deliveries).values(values_of(delivery, webhook_deliveries)))


def _record(row: sa.Row[Any]) -> DeliveryRecord:
    return record_of(DeliveryRecord, row)
