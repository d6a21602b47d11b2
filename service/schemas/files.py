"""Uploads as callers see them, in OpenAI's shape."""

from typing import Literal, Self

from service.schemas.strict import Answer
from service.store.records import FileRecord


class FileMapping(Answer):
    """The names of the fields that hold anchor, positive and negatives."""

    anchor: str
    positive: str
    negatives: list[str]


class FileObject(Answer):
    """An immutable file, every line of which was read."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    """A label, not a path."""
    purpose: str
    status: Literal["processed"] = "processed"
    sha256: str
    counts: dict[str, int]
    """fine-tune: pairs, negatives, duplicates, empty_lines, ignored_fields; eval: documents, queries, judgements;
    corpus: documents, longest_characters, empty_lines, ignored_fields."""
    mapping: FileMapping | None
    """Which fields hold the pairs, where the upload said so."""
    parent: str | None
    """The file that it was made of; null for an upload."""
    job: str | None
    """The job that made it."""
    metadata: dict[str, str]

    @classmethod
    def of(cls, record: FileRecord) -> Self:
        """The record as an answer."""
        return cls(
            id=record.id,
            bytes=record.num_bytes,
            created_at=int(record.created_at),
            filename=record.filename,
            purpose=record.purpose.value,
            sha256=record.sha256,
            counts=dict(record.counts),
            parent=record.parent,
            job=record.job_id,
            mapping=None if record.mapping is None else FileMapping(**record.mapping),
            metadata=dict(record.metadata),
        )


class FileDeleted(Answer):
    """The file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
