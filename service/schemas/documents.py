"""Documents of a collection: bodies and answers."""

from typing import Annotated, Any, Literal, Self

import pydantic_core
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.filters import BoundedFilter
from service.schemas.strict import (
    MAX_DOCUMENT_CHARACTERS,
    Answer,
    DocumentId,
    Fraction,
    Request,
    Whole,
    bounded_text,
    sentence,
)
from service.schemas.vectors import Vector
from service.store.excerpts import Excerpt

MAX_DELETED = 10_000
"""Ids of a call."""

MAX_METADATA_BYTES = 64 << 10
"""Of a document's metadata as JSON: it is read with every hit. The vector databases that name a limit have 40 KB."""


_Scalar = Annotated[str, Field(max_length=4_096)] | bool | Whole | Fraction | None
_MetadataValue = Annotated[
    _Scalar | Annotated[list[_Scalar], Field(max_length=256)],
    sentence("must be a text, a finite number, a whole one within ±2^53, true, false, null, or a list of these"),
]


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata, which is no place for what belongs into the text."""
    num_bytes = len(pydantic_core.to_json(metadata))
    if num_bytes > MAX_METADATA_BYTES:
        message = f"has {num_bytes:,} bytes as JSON; the limit is {MAX_METADATA_BYTES:,}; "
        raise PydanticCustomError("metadata_too_large", message + "keep what is long in text, or elsewhere by the id")
    return metadata


DocumentMetadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=128)], _MetadataValue],
    Field(max_length=64),
    AfterValidator(_small),
]


class DocumentBody(Request):
    """One text to be found; a vector is taken as it is, else the server embeds the text."""

    id: DocumentId
    text: Annotated[str, bounded_text(MAX_DOCUMENT_CHARACTERS)] | None = None
    metadata: DocumentMetadata = Field(default_factory=dict)
    vector: Vector | None = None


class DocumentsUpsert(Request):
    """The body of `POST /v1/collections/{c}/documents`; NDJSON has one document a line instead."""

    documents: list[DocumentBody] = Field(min_length=1)


class DocumentsAccepted(Answer):
    """The documents are stored and can be found; those that are `pending` once `job` has embedded them."""

    object: Literal["collection.documents"] = "collection.documents"
    accepted: int
    """Of equal ids in a stream the last one alone counts."""
    pending: int
    job: str | None


class DocumentObject(Answer):
    """A document as it is stored."""

    id: str
    object: Literal["collection.document"] = "collection.document"
    text: str | None
    metadata: dict[str, Any]
    has_vector: bool
    """Whether the client brought its vector."""

    @classmethod
    def of(cls, found: Excerpt) -> Self:
        """The answer about a document of which everything was read."""
        return cls(id=found.id, text=found.text, metadata=dict(found.metadata or {}), has_vector=found.is_brought)


class DocumentsDelete(Request):
    """The body of `POST /v1/collections/{c}/documents/delete`: ids, or a filter."""

    ids: Annotated[list[DocumentId], Field(min_length=1, max_length=MAX_DELETED)] | None = None
    filter: BoundedFilter | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise PydanticCustomError("invalid_value", "give either ids or a filter, and not both")
        return self


class DocumentsDeleted(Answer):
    """So many documents existed and are gone."""

    object: Literal["collection.documents.deleted"] = "collection.documents.deleted"
    deleted: int
    warnings: list[str] = Field(default_factory=list)
    """Keys of the filter that no document has."""


class DocumentsCount(Request):
    """The body of `POST /v1/collections/{c}/count`."""

    filter: BoundedFilter | None = None


class DocumentsCounted(Answer):
    """So many documents can be found."""

    object: Literal["collection.count"] = "collection.count"
    count: int
    warnings: list[str] = Field(default_factory=list)
    """Keys of the filter that no searchable document has."""
