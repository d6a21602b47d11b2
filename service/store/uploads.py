"""Uploads that come in parts: what was announced, and which parts have come; their bytes lie in `artifacts.py`'s root.

A part's row counts as stored bytes until the upload ends, in whatever way; then the file's row counts, or nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from service.store.database import Tx
from service.store.errors import NotFound
from service.store.records import FilePurpose
from service.store.tables import record_of, values_of
from service.store.upload_status import UploadStatus
from service.store.upload_tables import upload_parts, uploads

EXPIRE_SECONDS: Final = 24 * 3600.0
"""OpenAI gives an hour; a gigabyte over a slow line takes longer, and to bring what is large is what parts are for."""

_EXPIRED_AT_ONCE: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRecord:
    """A file that is to come in parts."""

    id: str
    project: str
    created_at: float
    expires_at: float
    filename: str
    purpose: FilePurpose
    num_bytes: int
    """How long the whole file was said to be."""
    mapping: Mapping[str, Any] | None = None
    """Which fields hold the pairs, where the caller said so."""
    status: UploadStatus = UploadStatus.PENDING
    completion: str | None = None
    """A digest of what it was completed with."""
    file_id: str | None = None
    """What it became; that file may have been deleted since."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file will have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRecord:
    """Bytes that have come; which place they have in the file is said in the end."""

    id: str
    upload_id: str
    created_at: float
    num_bytes: int
    sha256: str


def insert_upload(tx: Tx, upload: UploadRecord) -> None:
    """The upload is announced."""
    tx.execute(sa.insert(uploads).values(values_of(upload, uploads)))


def get_upload(tx: Tx, project: str, *, id: str) -> UploadRecord:
    """The upload.

    Raises:
        NotFound: the project has no such upload.
    """
    return _found(tx, _one(project, id), id=id)


def locked(tx: Tx, project: str, *, id: str) -> UploadRecord:
    """The upload, which nobody else adds to or ends before this transaction ends.

    Raises:
        NotFound: the project has no such upload.
    """
    return _found(tx, _one(project, id).with_for_update(), id=id)


def insert_part(tx: Tx, part: PartRecord) -> None:
    """The part has come; its bytes have to be in place before, and the upload locked."""
    tx.execute(sa.insert(upload_parts).values(values_of(part, upload_parts)))


def get_part(tx: Tx, id: str) -> PartRecord:
    """The part.

    Raises:
        NotFound: there is none of that id.
    """
    row = tx.execute(sa.select(upload_parts).where(upload_parts.c.id == id)).one_or_none()
    if row is None:
        raise NotFound("part", id)
    return record_of(PartRecord, row)


def parts_of(tx: Tx, id: str) -> dict[str, PartRecord]:
    """The parts of the upload that have come, by id."""
    query = sa.select(upload_parts).where(upload_parts.c.upload_id == id)
    return {row.id: record_of(PartRecord, row) for row in tx.execute(query)}


def end(
    tx: Tx, upload: UploadRecord, *, status: UploadStatus, completion: str | None = None, file_id: str | None = None
) -> None:
    """The locked upload has ended so, and none of its parts counts; remove their bytes only after the commit."""
    tx.execute(sa.delete(upload_parts).where(upload_parts.c.upload_id == upload.id))
    values = {"status": status, "completion": completion, "file_id": file_id}
    tx.execute(sa.update(uploads).where(uploads.c.id == upload.id).values(**values))


def overdue(tx: Tx, *, now: float) -> list[tuple[str, str]]:
    """(project, id) of some pending uploads whose time is over, the oldest first."""
    query = sa.select(uploads.c.project, uploads.c.id).where(is_pending(), uploads.c.expires_at <= now)
    rows = tx.execute(query.order_by(uploads.c.expires_at).limit(_EXPIRED_AT_ONCE))
    return [(row.project, row.id) for row in rows]


def is_pending() -> sa.ColumnElement[bool]:
    """The condition on an upload's row that parts may still be added."""
    return uploads.c.status == UploadStatus.PENDING


def _one(project: str, id: str) -> sa.Select[Any]:
    return sa.select(uploads).where(uploads.c.project == project, uploads.c.id == id)


def _found(tx: Tx, query: sa.Select[Any], *, id: str) -> UploadRecord:
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound("upload", id)
    return record_of(UploadRecord, row)
