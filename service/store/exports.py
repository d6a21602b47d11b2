"""Exports of models as rows; the tar lies in a sealed folder under the artifact root until its time is over."""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from service.store.database import Tx
from service.store.errors import NotFound
from service.store.tables import model_exports, record_of, values_of

KEPT_SECONDS: Final = 24 * 3600.0
"""From its end on; it can be ordered again at any time and has the same bytes then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRecord:
    """A model that is to be carried elsewhere; how far that is, its job says."""

    id: str
    project: str
    created_at: float
    job_id: str
    model: str
    folder: str | None = None
    """Its folder's name under the artifact root's `exports`; None until it has ended, and once its time is over."""
    num_bytes: int = 0
    """Of the tar; 0 where there is none."""
    sha256: str | None = None
    """Of the tar."""
    expires_at: float | None = None
    """None until it has ended."""


def insert_export(tx: Tx, export: ExportRecord) -> None:
    """The export exists; its job has to be there before."""
    tx.execute(sa.insert(model_exports).values(values_of(export, model_exports)))


def get_export(tx: Tx, project: str, *, id: str) -> ExportRecord:
    """The export.

    Raises:
        NotFound: the project has no such export.
    """
    query = sa.select(model_exports).where(model_exports.c.project == project, model_exports.c.id == id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound("export", id)
    return record_of(ExportRecord, row)


def complete(tx: Tx, *, job_id: str, folder: str, num_bytes: int, sha256: str, now: float) -> None:
    """The export of that job can be fetched; its folder has to be in place before."""
    values = {"folder": folder, "num_bytes": num_bytes, "sha256": sha256, "expires_at": now + KEPT_SECONDS}
    tx.execute(sa.update(model_exports).where(model_exports.c.job_id == job_id).values(**values))


def expire(tx: Tx, *, now: float) -> list[str]:
    """The folders of the exports whose time is over, which nothing names any more; remove them after the commit."""
    over = sa.and_(model_exports.c.folder.is_not(None), model_exports.c.expires_at <= now)
    rows = tx.execute(sa.select(model_exports.c.id, model_exports.c.folder).where(over).with_for_update()).all()
    gone = sa.update(model_exports).where(model_exports.c.id.in_([row.id for row in rows]))
    if rows:
        tx.execute(gone.values(folder=None, num_bytes=0))
    return [str(row.folder) for row in rows]


def any_overdue(tx: Tx, *, now: float) -> bool:
    """Whether `expire` would find one."""
    over = sa.and_(model_exports.c.folder.is_not(None), model_exports.c.expires_at <= now)
    return tx.execute(sa.select(model_exports.c.id).where(over).limit(1)).first() is not None
