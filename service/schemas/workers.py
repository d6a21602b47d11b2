"""Workers as callers see them."""

from typing import Literal, Self

from service.schemas.strict import Answer
from service.store.records import JobKind, Phase
from service.store.signals import WorkerRecord
from service.store.workers import Running


class WorkerObject(Answer):
    """A worker that is alive."""

    id: str
    """Its machine and process."""
    object: Literal["worker"] = "worker"
    queues: list[str]
    version: str
    created_at: int
    """When it began."""
    seen_at: int
    status: Literal["idle", "busy"]
    job: str | None
    """What it runs; null where that belongs to another project."""
    kind: JobKind | None
    phase: Phase | None

    @classmethod
    def of(cls, record: WorkerRecord, running: Running | None, *, project: str | None) -> Self:
        """The worker, with what it runs where that is of the project; None stands for all of them."""
        own = running if running is not None and project in (None, running.project) else None
        return cls(
            id=record.id,
            queues=list(record.queues),
            version=record.version,
            created_at=int(record.created_at),
            seen_at=int(record.seen_at),
            status="idle" if running is None else "busy",
            job=None if own is None else own.job_id,
            kind=None if own is None else own.kind,
            phase=None if own is None else own.phase,
        )
