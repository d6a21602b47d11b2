"""Webhook endpoints in OpenAI's shapes, and the log of what they were told."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from service.schemas.strict import Answer, Metadata, Request
from service.store.signals import DeliveryRecord, DeliveryStatus, EndpointRecord, EventType
from service.webhook_targets import MAX_URL_CHARACTERS

_HINT_CHARACTERS = 4

EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=len(EventType))]
EndpointName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
EndpointUrl = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_CHARACTERS)]


class WebhookEndpointCreate(Request):
    """The body of `POST /v1/webhook_endpoints`."""

    name: EndpointName
    url: EndpointUrl
    """https, and a public address, unless the operator allows others."""
    event_types: EventTypes
    metadata: Metadata | None = None


class WebhookEndpointUpdate(Request):
    """What is to change; what is left out stays, and so does what is null."""

    name: EndpointName | None = None
    url: EndpointUrl | None = None
    event_types: EventTypes | None = None
    metadata: Metadata | None = None
    """In place of all that it had."""


class WebhookSecretRotate(Request):
    """Whether the old secret still signs for a day, beside the new one."""

    keep_old_secret_active_for_24_hours: bool = False


class WebhookTest(Request):
    """Which event is sent as a sample."""

    event_type: EventType


class WebhookEndpoint(Answer):
    """A URL that is told of the ends of the project's jobs."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[EventType]
    created_at: int
    updated_at: int
    signing_secret_hint: str
    """The secret's last characters."""
    metadata: dict[str, str]

    signing_secret: str | None = Field(default=None, repr=False)
    """What signatures are verified with; null but in the answer that made it."""

    @classmethod
    def of(cls, record: EndpointRecord, *, shows_secret: bool = False) -> Self:
        """The record as an answer."""
        return cls(
            id=record.id,
            name=record.name,
            url=record.url,
            event_types=list(record.event_types),
            created_at=int(record.created_at),
            updated_at=int(record.updated_at),
            signing_secret_hint=f"whsec_...{record.secret[-_HINT_CHARACTERS:]}",
            metadata=dict(record.metadata),
            signing_secret=record.secret if shows_secret else None,
        )


class WebhookEndpointDeleted(Answer):
    """The endpoint is told nothing any more."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class WebhookTestResult(Answer):
    """The receiver has answered the sample."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    success: Literal[True] = True
    status_code: int
    """What the receiver answered; success says only that it did."""


class WebhookEventTypeList(Answer):
    """Every event that an endpoint may be told of."""

    object: Literal["list"] = "list"
    data: list[EventType] = Field(default=[*EventType])


class WebhookDelivery(Answer):
    """One event on its way to one endpoint."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str
    event_id: str
    """The `webhook-id` header: the same at every try and every replay."""
    event_type: EventType
    data: dict[str, Any]
    created_at: int
    status: DeliveryStatus
    attempts: int
    next_attempt_at: int | None
    last_attempt_at: int | None
    status_code: int | None
    """Of the last answer; null where there was none."""
    detail: str | None
    """The beginning of the last answer's body, or why there was none."""

    @classmethod
    def of(cls, record: DeliveryRecord) -> Self:
        """The record as an answer."""
        return cls(
            id=record.id,
            webhook_endpoint_id=record.endpoint_id,
            event_id=record.event_id,
            event_type=record.event_type,
            data=dict(record.data),
            created_at=int(record.created_at),
            status=record.status,
            attempts=record.attempts,
            next_attempt_at=None if record.next_at is None else int(record.next_at),
            last_attempt_at=None if record.tried_at is None else int(record.tried_at),
            status_code=record.status_code,
            detail=record.detail,
        )
