"""Documents of a collection that are nearly the same: body and answer."""

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.strict import Answer, DocumentId, Request


class DuplicatesFind(Request):
    """The body of `POST /v1/collections/{c}/duplicates`."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The cosine from which on two documents are duplicates."""
    after: DocumentId | None = None
    """The document behind which to go on: `last_id` of the window before."""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Pairs after which a window ends; those of its last document are told to the end."""


class Duplicate(Answer):
    """Two documents, and how near they are."""

    id: str
    other: str
    """It stands behind `id` in the order of ids: each pair is told once."""
    score: float


class Duplicates(Answer):
    """A window of the documents, in the order of their ids, and the pairs that begin in it."""

    object: Literal["collection.duplicates"] = "collection.duplicates"
    data: list[Duplicate]
    looked_at: int
    """Documents of this window."""
    has_more: bool
    last_id: str | None
    """The document that was looked at last."""
