"""Webhook endpoints: who is told of the ends of a project's jobs, and with which secret that is signed."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from service.store import projects
from service.store.database import Tx
from service.store.errors import Conflict, NotFound
from service.store.paging import window
from service.store.records import Page, new_id
from service.store.signal_tables import webhook_deliveries, webhook_endpoints
from service.store.signals import EndpointRecord, EventType
from service.store.tables import record_of, values_of

MAX_ENDPOINTS: Final = 50
"""Of a project: each job's end writes a row for each of them."""

_SECRET_BYTES = 32  # Standard Webhooks asks for 24 to 64


def create_endpoint(
    tx: Tx, project: str, *, name: str, url: str, event_types: Sequence[EventType], now: float
) -> EndpointRecord:
    """The endpoint will be told of what happens from now on.

    Raises:
        Conflict: the project has as many as it may.
    """
    projects.held(tx, project, now=now)  # two at once do not both take the last place
    count = sa.select(sa.func.count()).where(webhook_endpoints.c.project == project)
    if tx.execute(count).scalar_one() >= MAX_ENDPOINTS:
        message = f"The project has {MAX_ENDPOINTS} webhook endpoints, the most it may have; delete one first"
        raise Conflict("conflict", message)
    endpoint = EndpointRecord(
        id=new_id("whe"),
        project=project,
        name=name,
        url=url,
        event_types=tuple(dict.fromkeys(event_types)),
        secret=_new_secret(),
        created_at=now,
        updated_at=now,
    )
    tx.execute(sa.insert(webhook_endpoints).values(values_of(endpoint, webhook_endpoints)))
    return endpoint


def get_endpoint(tx: Tx, project: str, *, id: str) -> EndpointRecord:
    """The endpoint.

    Raises:
        NotFound: the project has no such endpoint.
    """
    return _one(tx, _of(project), id=id)


def page_endpoints(tx: Tx, project: str, *, page: Page) -> tuple[list[EndpointRecord], bool]:
    """A window of the project's endpoints, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    rows, more = window(tx, _of(project), table=webhook_endpoints, page=page)
    return [_record(row) for row in rows], more


def change_endpoint(tx: Tx, project: str, *, id: str, now: float, values: dict[str, Any]) -> EndpointRecord:
    """The endpoint has these values of name, url, event_types and metadata; what is on its way goes to the new URL.

    Raises:
        NotFound: the project has no such endpoint.
    """
    old = _held(tx, project, id=id)
    new = replace(old, **values)
    if new == old:
        return old
    return _write(tx, replace(new, updated_at=now))


def rotate_secret(tx: Tx, project: str, *, id: str, now: float, grace_seconds: float) -> EndpointRecord:
    """The endpoint has a new secret; for so long the old one signs as well.

    Raises:
        NotFound: the project has no such endpoint.
    """
    old = _held(tx, project, id=id)
    old_secret, until = (old.secret, now + grace_seconds) if grace_seconds else (None, None)
    new = replace(old, secret=_new_secret(), old_secret=old_secret, old_secret_until=until, updated_at=now)
    return _write(tx, new)


def delete_endpoint(tx: Tx, project: str, *, id: str) -> None:
    """The endpoint and its deliveries are gone.

    Raises:
        NotFound: the project has no such endpoint.
    """
    _held(tx, project, id=id)
    tx.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.endpoint_id == id))
    tx.execute(sa.delete(webhook_endpoints).where(webhook_endpoints.c.id == id))


def endpoints_by_ids(tx: Tx, ids: Sequence[str]) -> dict[str, EndpointRecord]:
    """Those of these endpoints that exist, of whatever project, by id."""
    query = sa.select(webhook_endpoints).where(webhook_endpoints.c.id.in_(ids))
    return {endpoint.id: endpoint for endpoint in map(_record, tx.execute(query))}


def _write(tx: Tx, endpoint: EndpointRecord) -> EndpointRecord:
    values = values_of(endpoint, webhook_endpoints)
    tx.execute(sa.update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint.id).values(values))
    return endpoint


def _held(tx: Tx, project: str, *, id: str) -> EndpointRecord:
    """The endpoint, which nobody else changes before this transaction ends."""
    return _one(tx, _of(project).with_for_update(), id=id)


def _one(tx: Tx, query: sa.Select[Any], *, id: str) -> EndpointRecord:
    row = tx.execute(query.where(webhook_endpoints.c.id == id)).one_or_none()
    if row is None:
        raise NotFound("webhook endpoint", id)
    return _record(row)


def _of(project: str) -> sa.Select[Any]:
    return sa.select(webhook_endpoints).where(webhook_endpoints.c.project == project)


def _record(row: sa.Row[Any]) -> EndpointRecord:
    endpoint = record_of(EndpointRecord, row)
    return replace(endpoint, event_types=tuple(map(EventType, endpoint.event_types)))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
