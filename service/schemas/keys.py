"""API keys and projects as administrators see them."""

from typing import Annotated, Literal, Self

from pydantic import Field

from service.schemas.strict import MAX_WHOLE, Answer, Metadata, Request, Whole, sentence
from service.store.records import KeyRecord, ProjectRecord, Scope

PROJECT_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
MAX_SECONDS = 10 * 366 * 24 * 3600
"""Ten years; a key without an end says so by leaving it out."""

ProjectName = Annotated[str, Field(pattern=f"^{PROJECT_NAME}$")]
Scopes = Annotated[
    tuple[Annotated[Scope, Field(strict=False)], ...],
    Field(min_length=1, max_length=4),
    sentence("must be a list of one to four of read, train, index, admin"),
]
Limit = Annotated[int, Field(ge=0, le=MAX_WHOLE)]
RequestLimit = Annotated[int, Field(ge=1, le=10_000_000)]
"""None at all would shut administrators out as well."""


class ApiKeyCreate(Request):
    """What a new key is to be."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    project: ProjectName | None = None
    """The caller's own where it is left out."""
    scopes: Annotated[Scopes, Field(strict=False)] = (Scope.ADMIN,)
    expires_in_seconds: Annotated[Whole, Field(ge=1, le=MAX_SECONDS)] | None = None
    metadata: Metadata | None = None


class ApiKeyRotate(Request):
    """How long the old key still counts."""

    grace_seconds: Annotated[Whole, Field(ge=0, le=MAX_SECONDS)] = 24 * 3600


class ApiKey(Answer):
    """A key; its secret is shown when it is made, and nowhere stored."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    project: str
    scopes: list[Scope]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    """Within a minute."""
    metadata: dict[str, str]
    secret: str | None = None
    """What is sent as `Authorization: Bearer …`; null but in the answer that made the key."""

    @classmethod
    def of(cls, record: KeyRecord, secret: str | None = None) -> Self:
        """The record as an answer."""
        return cls(
            id=record.id,
            name=record.name,
            project=record.project,
            scopes=list(record.scopes),
            created_at=int(record.created_at),
            expires_at=_whole(record.expires_at),
            revoked_at=_whole(record.revoked_at),
            last_used_at=_whole(record.last_used_at),
            metadata=dict(record.metadata),
            secret=secret,
        )


class ApiKeyDeleted(Answer):
    """The key opens nothing any more."""

    id: str
    object: Literal["api_key"] = "api_key"
    deleted: Literal[True] = True


class ProjectUpdate(Request):
    """How much a project may use; null is the server's limit, what is left out stays."""

    max_queued_jobs: Limit | None = None
    max_stored_bytes: Limit | None = None
    max_requests_per_minute: RequestLimit | None = None
    metadata: Metadata | None = None
    """In place of all that it had; null changes nothing."""


class ProjectCreate(Request):
    """A new project, and how much it may use; null is the server's limit."""

    id: ProjectName
    max_queued_jobs: Limit | None = None
    max_stored_bytes: Limit | None = None
    max_requests_per_minute: RequestLimit | None = None
    metadata: Metadata | None = None


class ProjectObject(Answer):
    """Who owns objects, how much it may use and uses."""

    id: str
    object: Literal["project"] = "project"
    created_at: int
    max_queued_jobs: int | None
    max_stored_bytes: int | None
    max_requests_per_minute: int | None
    """null is the server's limit."""
    metadata: dict[str, str]
    waiting_jobs: int
    stored_bytes: int

    @classmethod
    def of(cls, record: ProjectRecord, *, waiting_jobs: int, stored_bytes: int) -> Self:
        """The record and what was counted."""
        return cls(
            id=record.id,
            created_at=int(record.created_at),
            max_queued_jobs=record.max_queued_jobs,
            max_stored_bytes=record.max_stored_bytes,
            max_requests_per_minute=record.max_requests_per_minute,
            metadata=dict(record.metadata),
            waiting_jobs=waiting_jobs,
            stored_bytes=stored_bytes,
        )


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)
