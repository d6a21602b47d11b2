"""What the tables of signals hold: webhook endpoints, deliveries to them, workers; and the one table of event names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from service.store.records import JobKind, JobStatus


class EventType(StrEnum):
    """What an endpoint may be told of: fine-tunings under OpenAI's names, jobs of other kinds under ours."""

    FINE_TUNING_JOB_SUCCEEDED = "fine_tuning.job.succeeded"
    FINE_TUNING_JOB_FAILED = "fine_tuning.job.failed"
    FINE_TUNING_JOB_CANCELLED = "fine_tuning.job.cancelled"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"


def event_type(kind: JobKind, status: JobStatus) -> EventType | None:
    """How the event is called that a job of this kind has come to this status; None where it has not ended."""
    if status not in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED):
        return None
    return EventType(f"fine_tuning.job.{status}" if kind is JobKind.TRAIN else f"job.{status}")


class DeliveryStatus(StrEnum):
    """Where a delivery stands; the last two never change."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointRecord:
    """A URL that is told of events."""

    id: str
    project: str
    name: str
    url: str
    event_types: tuple[EventType, ...]
    secret: str = field(repr=False)
    """`whsec_…`, as it was shown: what signs has to be readable, so it is protected as the database is."""
    created_at: float
    updated_at: float
    """When what is asked of it, or its secret, changed last."""
    old_secret: str | None = field(default=None, repr=False)
    old_secret_until: float | None = None
    """Until when the old secret signs beside the new one."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def secrets(self, now: float) -> tuple[str, ...]:
        """Those that sign, the newest first."""
        if self.old_secret is None or self.old_secret_until is None or self.old_secret_until <= now:
            return (self.secret,)
        return (self.secret, self.old_secret)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRecord:
    """One event on its way to one endpoint."""

    id: str
    endpoint_id: str
    event_id: str
    """Sent as `webhook-id`: the same at every try and at every replay."""
    event_type: EventType
    event_at: float
    data: Mapping[str, Any]
    created_at: float
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    """Tries that began; the number also fences what a slow sender writes late."""
    next_at: float | None
    """When it is tried next; None once it has ended."""
    tried_at: float | None = None
    status_code: int | None = None
    """Of the last answer; None where there was none."""
    detail: str | None = None
    """The beginning of the last answer's body, or why there was none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """A worker that has shown a sign of life."""

    id: str
    """Who holds the leases of what it runs."""
    queues: tuple[str, ...]
    version: str
    created_at: float
    """When it began."""
    seen_at: float
