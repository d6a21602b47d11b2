"""Models as callers see them, in OpenAI's shape and with what an embedding model is."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from service.schemas.exports import told_of
from service.schemas.job_answers import JobFailure
from service.schemas.strict import Answer, Metadata, Name, Request, only
from service.store.exports import ExportRecord
from service.store.records import JobRecord


class ModelPrompts(Answer):
    """What is put before a text, by what it is."""

    query: str
    document: str


class ModelObject(Answer):
    """A base model that is known here, one that a job made, or one that a caller brought."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """0 for a base model: nobody here made it."""
    owned_by: str
    kind: Literal["base", "tuned", "imported"]
    dimensions: int | None = None
    max_tokens: int | None = None
    prompts: ModelPrompts | None = None
    """What is put before a text; null where the model's folder cannot be read."""
    parent: str | None = None
    """What it was tuned from."""
    job: str | None = None
    """The job that made it."""
    data_sha256: str | None = None
    """Of the file that it was trained on."""
    bytes: int | None = None
    """Of its folder."""
    fingerprint: str | None = None
    """Equal prints give equal vectors."""
    evaluation: dict[str, Any] | None = None
    """Base against tuned, in short; the job's `/report` has all of it."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """The job's that made it, or what came with it."""


class ModelDeleted(Answer):
    """The model is gone."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class ModelExportCreate(Request):
    """The body of `POST /v1/model_exports`."""

    model: Name
    format: Annotated[Literal["safetensors"], only("safetensors")] = "safetensors"
    metadata: Metadata | None = None


class ModelExport(Answer):
    """A model as one tar of its folder, for a while."""

    id: str
    object: Literal["model_export"] = "model_export"
    created_at: int
    model: str
    format: Literal["safetensors"] = "safetensors"
    job: str
    """The id of the job that makes it."""
    status: str
    """The job's, or expired."""
    bytes: int | None
    """Of the tar, once it can be fetched; equal models have equal bytes."""
    sha256: str | None
    expires_at: int | None
    metadata: dict[str, str]
    error: JobFailure | None

    @classmethod
    def of(cls, record: ExportRecord, job: JobRecord, *, now: float) -> Self:
        """The record and its job as an answer."""
        return cls(model=str(record.model), **told_of(record, job, now=now))
