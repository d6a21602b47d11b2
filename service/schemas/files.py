"""Uploads as callers see them, in OpenAI's shape."""

from typing import Literal, Self

from service.schemas.strict import Answer
from service.store.records import FileRecord


class FileObject(Answer):
    """An immutable upload, every line of which was read."""

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
    """fine-tune: pairs, negatives, empty_lines, ignored_fields; eval: documents, queries, judgements."""

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
        )


class FileDeleted(Answer):
    """The file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
