"""Webhook endpoints: who is told of the ends of jobs, what was told, and what is to be told again."""

import hashlib
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import LabelledWindow, Parts, Window, object_id
from service.errors import ServiceError
from service.given_metadata import METADATA_QUERY
from service.repetition import Once
from service.schemas.lists import Listing
from service.schemas.webhooks import (
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointDeleted,
    WebhookEndpointUpdate,
    WebhookEventTypeList,
    WebhookSecretRotate,
    WebhookTest,
    WebhookTestResult,
)
from service.shown_once import shown_once
from service.store import deliveries, webhooks
from service.store.database import Tx, now_of
from service.store.records import new_id
from service.store.signals import DeliveryRecord, EndpointRecord
from service.webhook_sender import tell
from service.webhook_targets import check_target

OLD_SECRET_SECONDS = 24 * 3600.0
_LOST = "rotate the endpoint's secret by another request"

router = APIRouter(prefix="/v1", tags=["webhooks"], dependencies=KEY_FIRST)
EndpointId = Annotated[str, Depends(object_id("whe", "webhook endpoint"))]
_delivery_id = object_id("whd", "webhook delivery")


async def delivery_path(delivery: str) -> str:
    """The path's `delivery` if it can be one's id; else it is not found, as a random one."""
    return await _delivery_id(delivery)


DeliveryId = Annotated[str, Depends(delivery_path)]


@router.get("/webhook_event_types")
def list_event_types(project: Project) -> WebhookEventTypeList:
    """Every event that an endpoint may be told of."""
    return WebhookEventTypeList()


@router.post("/webhook_endpoints", openapi_extra=described(WebhookEndpointCreate))
async def create(
    request: Request,
    asked: Annotated[WebhookEndpointCreate, Depends(json_body(WebhookEndpointCreate))],
    parts: Parts,
    project: Project,
    repetition: Once,
) -> WebhookEndpoint:
    """Make an endpoint; `signing_secret` is shown this once."""
    await _check(parts, asked.url)

    def make(tx: Tx) -> tuple[str, EndpointRecord]:
        name, url, types, now = asked.name, asked.url, asked.event_types, parts.clock()
        made = webhooks.create_endpoint(tx, project, name=name, url=url, event_types=types, now=now)
        values = {"metadata": asked.metadata or {}}
        return made.id, webhooks.change_endpoint(tx, project, id=made.id, now=now, values=values)

    def again(tx: Tx, id: str) -> EndpointRecord:
        return webhooks.get_endpoint(tx, project, id=id)

    digest = request.state.body_sha256
    shown = partial(shown_once, parts.database, repetition, digest=digest, remedy=_LOST)
    made = await run_in_threadpool(shown, make=make, again=again)
    return WebhookEndpoint.of(made, shows_secret=True)


@router.get("/webhook_endpoints", openapi_extra=METADATA_QUERY)
def list_endpoints(parts: Parts, project: Project, page: LabelledWindow) -> Listing[WebhookEndpoint]:
    """The project's endpoints, newest first."""
    with parts.database.read() as tx:
        records, more = webhooks.page_endpoints(tx, project, page=page)
    return Listing.of([WebhookEndpoint.of(record) for record in records], more)


@router.get("/webhook_endpoints/{id}")
def retrieve(id: EndpointId, parts: Parts, project: Project) -> WebhookEndpoint:
    """One endpoint."""
    with parts.database.read() as tx:
        return WebhookEndpoint.of(webhooks.get_endpoint(tx, project, id=id))


@router.post("/webhook_endpoints/{id}", openapi_extra=described(WebhookEndpointUpdate))
async def update(
    id: EndpointId,
    asked: Annotated[WebhookEndpointUpdate, Depends(json_body(WebhookEndpointUpdate))],
    parts: Parts,
    project: Project,
) -> WebhookEndpoint:
    """Change name, URL, events or metadata; what is still to be delivered goes to the new URL."""
    if asked.url is not None:
        await _check(parts, asked.url)
    values: dict[str, Any] = asked.model_dump(exclude_none=True)
    if "event_types" in values:
        values["event_types"] = tuple(values["event_types"])

    def change() -> EndpointRecord:
        with parts.database.write() as tx:
            return webhooks.change_endpoint(tx, project, id=id, now=parts.clock(), values=values)

    return WebhookEndpoint.of(await run_in_threadpool(change))


@router.delete("/webhook_endpoints/{id}")
def delete(id: EndpointId, parts: Parts, project: Project) -> WebhookEndpointDeleted:
    """Delete an endpoint, and the log of what it was told."""
    with parts.database.write() as tx:
        webhooks.delete_endpoint(tx, project, id=id)
    return WebhookEndpointDeleted(id=id)


@router.post("/webhook_endpoints/{id}/rotate_secret", openapi_extra=described(WebhookSecretRotate))
def rotate_secret(
    id: EndpointId,
    request: Request,
    asked: Annotated[WebhookSecretRotate, Depends(json_body(WebhookSecretRotate))],
    parts: Parts,
    project: Project,
    repetition: Once,
) -> WebhookEndpoint:
    """Give an endpoint a new secret, which is shown this once."""
    grace = OLD_SECRET_SECONDS if asked.keep_old_secret_active_for_24_hours else 0.0
    digest = hashlib.sha256(f"{id} {request.state.body_sha256}".encode()).hexdigest()

    def make(tx: Tx) -> tuple[str, EndpointRecord]:
        return id, webhooks.rotate_secret(tx, project, id=id, now=parts.clock(), grace_seconds=grace)

    def again(tx: Tx, id: str) -> EndpointRecord:
        return webhooks.get_endpoint(tx, project, id=id)

    made = shown_once(parts.database, repetition, digest=digest, remedy=_LOST, make=make, again=again)
    return WebhookEndpoint.of(made, shows_secret=True)


@router.post("/webhook_endpoints/{id}/test", openapi_extra=described(WebhookTest))
async def test(
    id: EndpointId,
    asked: Annotated[WebhookTest, Depends(json_body(WebhookTest))],
    parts: Parts,
    project: Project,
) -> WebhookTestResult:
    """Send a sample once, now; nothing of it is stored, and its job does not exist."""

    def find() -> EndpointRecord:
        with parts.database.read() as tx:
            return webhooks.get_endpoint(tx, project, id=id)

    endpoint, now = await run_in_threadpool(find), parts.clock()
    sample = DeliveryRecord(
        id=new_id("whd"),
        endpoint_id=id,
        event_id=new_id("evt"),
        event_type=asked.event_type,
        event_at=now,
        data={"id": "test"},
        created_at=now,
        next_at=None,
    )
    answer = await tell(endpoint, sample, reach=parts.reach, now=now)
    if answer.status_code is None:
        raise ServiceError("endpoint_unreachable", f"The endpoint did not answer: {answer.detail}")
    return WebhookTestResult(webhook_endpoint_id=id, event_type=asked.event_type, status_code=answer.status_code)


@router.get("/webhook_endpoints/{id}/deliveries")
def list_deliveries(id: EndpointId, parts: Parts, project: Project, page: Window) -> Listing[WebhookDelivery]:
    """What the endpoint was told within 30 days, and is still to be told, newest first."""
    with parts.database.read() as tx:
        webhooks.get_endpoint(tx, project, id=id)
        records, more = deliveries.page_deliveries(tx, id, page=page)
    return Listing.of([WebhookDelivery.of(record) for record in records], more)


@router.post("/webhook_endpoints/{id}/deliveries/{delivery}/replay")
def replay(id: EndpointId, delivery: DeliveryId, parts: Parts, project: Project, repetition: Once) -> WebhookDelivery:
    """Tell it again, under the same `webhook-id`; where it is still on its way, soon instead of later."""
    digest = hashlib.sha256(f"{id} {delivery}".encode()).hexdigest()

    def make() -> str:
        with parts.database.write() as tx:
            webhooks.get_endpoint(tx, project, id=id)
            told = deliveries.replay(tx, id, id=delivery, now=now_of(tx)).id
            repetition.remember(tx, digest, object_id=told)
        return told

    made = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return WebhookDelivery.of(deliveries.get(tx, id, id=made))


async def _check(parts: Parts, url: str) -> None:
    await check_target(url, resolve=parts.reach.resolve, allow_private=parts.reach.allow_private)
