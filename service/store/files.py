"""Uploads as rows; the bytes lie under the artifact root (`artifacts.py`)."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from service.store.database import Tx
from service.store.errors import Conflict, NotFound
from service.store.paging import window
from service.store.records import FilePurpose, FileRecord, JobStatus, Page
from service.store.tables import files, jobs, record_of, values_of

_FILE_ID = re.compile(r"file-[0-9a-z]{26}")


def insert_file(tx: Tx, file: FileRecord) -> None:
    """The file can be named by jobs; its bytes have to be in place before."""
    tx.execute(sa.insert(files).values(values_of(file, files)))


def get_file(tx: Tx, project: str, *, id: str) -> FileRecord:
    """The file.

    Raises:
        NotFound: the project has no such file.
    """
    row = tx.execute(_one(project, id)).one_or_none()
    if row is None:
        raise NotFound("file", id)
    return record_of(FileRecord, row)


def page_files(
    tx: Tx, project: str, *, page: Page, purpose: FilePurpose | None = None
) -> tuple[list[FileRecord], bool]:
    """A window of the project's files (of one purpose), and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(files).where(files.c.project == project)
    if purpose is not None:
        query = query.where(files.c.purpose == purpose)
    rows, more = window(tx, query, table=files, page=page)
    return [record_of(FileRecord, row) for row in rows], more


def delete_file(tx: Tx, project: str, *, id: str) -> None:
    """The row is gone; remove the bytes only after the commit.

    Raises:
        NotFound: the project has no such file.
        Conflict: a job that has not ended names it (`in_use`).
    """
    if tx.execute(_one(project, id).with_for_update()).one_or_none() is None:
        raise NotFound("file", id)
    spec = sa.type_coerce(jobs.c.spec, sa.Text())
    active = jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED])
    users = sa.select(jobs.c.id).where(jobs.c.project == project, active, spec.contains(f'"{id}"', autoescape=True))
    if user := tx.execute(users.limit(1)).scalar_one_or_none():
        raise Conflict("in_use", f"The job {user} needs the file {id}; cancel it or wait for its end")
    tx.execute(sa.delete(files).where(files.c.project == project, files.c.id == id))


def named_in(value: Any) -> set[str]:
    """The file ids that stand anywhere in a job's spec."""
    if isinstance(value, str):
        return {value} if _FILE_ID.fullmatch(value) else set()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {name for part in parts for name in named_in(part)}


def hold(tx: Tx, project: str, *, ids: Collection[str]) -> None:
    """None of these files can be deleted before this transaction ends.

    Raises:
        NotFound: one of them does not exist in the project.
    """
    query = sa.select(files.c.id).where(files.c.project == project, files.c.id.in_(ids))
    found = set(tx.execute(query.with_for_update(read=True)).scalars()) if ids else set()
    for id in sorted(set(ids) - found):
        raise NotFound("file", id)


def _one(project: str, id: str) -> sa.Select[Any]:
    return sa.select(files).where(files.c.project == project, files.c.id == id)
