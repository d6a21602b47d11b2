"""Uploads in parts as callers ask for them and see them, in OpenAI's shape."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from service.schemas.files import FileObject
from service.schemas.strict import Answer, Metadata, Off, Request
from service.store.records import FilePurpose, FileRecord
from service.store.upload_status import UploadStatus
from service.store.uploads import PartRecord, UploadRecord

MAX_PARTS = 10_000
"""As S3 has it; at OpenAI's 64 MB a part that is 640 GB."""


class UploadCreate(Request):
    """The body of `POST /v1/uploads`."""

    filename: Annotated[str, Field(min_length=1, max_length=5_000)]
    purpose: FilePurpose
    bytes: Annotated[int, Field(ge=1, le=2**53)]
    """Of the whole file."""
    mime_type: Annotated[str, Field(max_length=255)]
    """For OpenAI's clients; what a file is, its first bytes say."""
    mapping: dict[str, Any] | None = None
    """The fields of pairs, where they are not those of a known dialect: anchor, positive, negatives."""
    metadata: Metadata | None = None
    """What the file will have."""
    expires_after: Off = None


class UploadComplete(Request):
    """The body of `POST /v1/uploads/{id}/complete`."""

    part_ids: Annotated[list[Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=MAX_PARTS)]
    """In the order of their bytes."""
    md5: Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None
    """Of the whole file."""


class UploadObject(Answer):
    """A file that comes in parts."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    """How long the whole file was said to be."""
    created_at: int
    expires_at: int
    filename: str
    """A label, not a path."""
    purpose: str
    status: str
    """pending, completed, cancelled or expired."""
    file: FileObject | None
    """What it became, once it is completed; null where that file was deleted."""
    metadata: dict[str, str]

    @classmethod
    def of(cls, record: UploadRecord, file: FileRecord | None, *, now: float) -> Self:
        """The record as an answer."""
        is_over = record.status is UploadStatus.PENDING and record.expires_at <= now
        return cls(
            id=record.id,
            bytes=record.num_bytes,
            created_at=int(record.created_at),
            expires_at=int(record.expires_at),
            filename=record.filename,
            purpose=record.purpose.value,
            status=UploadStatus.EXPIRED.value if is_over else record.status.value,
            file=None if file is None else FileObject.of(file),
            metadata=dict(record.metadata),
        )


class UploadPart(Answer):
    """Bytes of a file that comes in parts."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, record: PartRecord) -> Self:
        """The record as an answer."""
        return cls(
            id=record.id,
            created_at=int(record.created_at),
            upload_id=record.upload_id,
            bytes=record.num_bytes,
            sha256=record.sha256,
        )
