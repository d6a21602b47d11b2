"""Collections as files: what an export is told as, and what the file of one says."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.collections import CollectionName, IndexAsked
from service.schemas.documents import DocumentMetadata
from service.schemas.exports import told_of
from service.schemas.job_answers import JobFailure
from service.schemas.strict import (
    MAX_DOCUMENT_CHARACTERS,
    MAX_WHOLE,
    Answer,
    DocumentId,
    Metadata,
    Name,
    Request,
    bounded_text,
)
from service.schemas.vectors import MAX_DIMENSION
from service.store.exports import ExportRecord
from service.store.records import JobRecord

_Count = Annotated[int, Field(ge=0, le=MAX_WHOLE)]


class CollectionExportCreate(Request):
    """The body of `POST /v1/collections/{c}/export`, which may be left out."""

    metadata: Metadata | None = None


class CollectionExport(Answer):
    """A collection as one file, for a while."""

    id: str
    object: Literal["collection.export"] = "collection.export"
    created_at: int
    collection: str
    """Its name."""
    job: str
    """The id of the job that makes it."""
    status: str
    """The job's, or expired."""
    bytes: int | None
    """Of the file, once it can be fetched."""
    sha256: str | None
    expires_at: int | None
    metadata: dict[str, str]
    error: JobFailure | None

    @classmethod
    def of(cls, record: ExportRecord, job: JobRecord, *, collection: str, now: float) -> Self:
        """The record and its job as an answer."""
        return cls(collection=collection, **told_of(record, job, now=now))


class PartFacts(Request):
    """A part of the file."""

    bytes: _Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PartsFacts(Request):
    """The parts that the manifest tells of."""

    documents: PartFacts = Field(alias="documents.jsonl")
    vectors: PartFacts = Field(alias="vectors.f32")


class CollectionFacts(Request):
    """What the collection was."""

    name: CollectionName
    model: Name | None
    fingerprint: Name | None
    """Of the model that made the vectors of texts; null where there are none."""
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    index: IndexAsked = Field(default_factory=IndexAsked)
    """Files of earlier versions do not say it."""
    metadata: Metadata


class CountFacts(Request):
    """How much is in the parts."""

    documents: _Count
    brought: _Count
    """Documents whose vectors the client brought."""
    vectors: _Count
    """Documents that have a vector."""


class BroughtFacts(Request):
    """By which model the collection answered when clients brought vectors."""

    row: _Count
    """The first of these documents, the last of which is before the next row that is told; they are counted from 0."""
    model: Name | None
    fingerprint: Name | None


class CollectionManifest(Request):
    """The file's `manifest.json`; format and version were looked at before."""

    format: Any
    version: Any
    collection: CollectionFacts
    counts: CountFacts
    brought_for: list[BroughtFacts] = Field(default_factory=list)
    """In the order of the rows. What comes before the first, or all, was brought for the model that answers."""
    parts: PartsFacts

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        rows = [one.row for one in self.brought_for]
        if any(row >= following for row, following in pairwise(rows)):
            raise PydanticCustomError("invalid_value", "brought_for must be in the order of its rows, each once")
        return self


class DocumentLine(Request):
    """A line of the file's `documents.jsonl`."""

    id: DocumentId
    text: Annotated[str, bounded_text(MAX_DOCUMENT_CHARACTERS)] | None
    metadata: DocumentMetadata
    brought: bool
    """Whether its vector is the client's own."""
