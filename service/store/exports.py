"""Exports of models and collections as rows; the tar lies in a sealed folder of its own until its time is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from service.store.database import Tx
from service.store.errors import NotFound
from service.store.tables import exports, record_of, values_of

KEPT_SECONDS: Final = 24 * 3600.0
"""From its end on; it can be ordered again at any time and has the same bytes then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRecord:
    """A model or a collection that is to be carried elsewhere; how far that is, its job says."""

    id: str
    project: str
    created_at: float
    job_id: str
    model: str | None = None
    """None where a collection is exported."""
    collection_id: str | None = None
    """None where a model is exported."""
    folder: str | None = None
    """Its folder's name under the artifact root's `exports`; None until it has ended, and once its time is over."""
    num_bytes: int = 0
    """Of the tar; 0 where there is none."""
    sha256: str | None = None
    """Of the tar."""
    expires_at: float | None = None
    """None until it has ended."""
    metadata: Mapping[str, str] = field(default_factory=dict)


def insert_export(tx: Tx, export: ExportRecord) -> None:
    """The export exists; its job has to be there before."""
    tx.execute(sa.insert(exports).values(values_of(export, exports)))


def get_export(tx: Tx, project: str, *, id: str, collection_id: str | None = None) -> ExportRecord:
    """The export of that collection, or of a model.

    Raises:
        NotFound: the project has no such export.
    """
    query = sa.select(exports).where(exports.c.project == project, exports.c.id == id)
    row = tx.execute(query.where(exports.c.collection_id.is_not_distinct_from(collection_id))).one_or_none()
    if row is None:
        raise NotFound("export", id)
    return record_of(ExportRecord, row)


def complete(tx: Tx, *, job_id: str, folder: str, num_bytes: int, sha256: str, now: float) -> None:
    """The export of that job can be fetched; its folder has to be in place before."""
    values = {"folder": folder, "num_bytes": num_bytes, "sha256": sha256, "expires_at": now + KEPT_SECONDS}
    tx.execute(sa.update(exports).where(exports.c.job_id == job_id).values(**values))


def end_of_collection(tx: Tx, collection_id: str, *, now: float) -> None:
    """The time of the collection's exports is over: nobody can ask for them any more."""
    there = sa.and_(exports.c.collection_id == collection_id, exports.c.expires_at > now)
    tx.execute(sa.update(exports).where(there).values(expires_at=now))


def expire(tx: Tx, *, now: float) -> list[str]:
    """The folders of the exports whose time is over, which nothing names any more; remove them after the commit."""
    over = sa.and_(exports.c.folder.is_not(None), exports.c.expires_at <= now)
    rows = tx.execute(sa.select(exports.c.id, exports.c.folder).where(over).with_for_update()).all()
    gone = sa.update(exports).where(exports.c.id.in_([row.id for row in rows]))
    if rows:
        tx.execute(gone.values(folder=None, num_bytes=0))
    return [str(row.folder) for row in rows]


def any_overdue(tx: Tx, *, now: float) -> bool:
    """Whether `expire` would find one."""
    over = sa.and_(exports.c.folder.is_not(None), exports.c.expires_at <= now)
    return tx.execute(sa.select(exports.c.id).where(over).limit(1)).first() is not None
