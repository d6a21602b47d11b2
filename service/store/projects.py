"""Projects: who owns objects, and how much each may use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.errors import Conflict, NotFound
from service.store.paging import window
from service.store.records import JobKind, JobStatus, Page, ProjectRecord
from service.store.tables import (
    collections,
    evaluations,
    exports,
    files,
    jobs,
    models,
    projects,
    record_of,
    values_of,
    versions,
)
from service.store.upload_status import UploadStatus
from service.store.upload_tables import upload_parts, uploads


def insert_project(tx: Tx, project: ProjectRecord) -> None:
    """The project exists.

    Raises:
        Conflict: one of that name does already (`name_taken`).
    """
    if not _added(tx, project):
        raise Conflict("name_taken", f"A project named {project.id!r} exists; choose another name")


def ensure(tx: Tx, id: str, *, now: float) -> None:
    """The project exists, as it was or with the server's limits."""
    _added(tx, ProjectRecord(id=id, created_at=now))


def get_project(tx: Tx, id: str) -> ProjectRecord:
    """The project.

    Raises:
        NotFound: there is none of that name.
    """
    found = find(tx, id)
    if found is None:
        raise NotFound("project", id)
    return found


def find(tx: Tx, id: str) -> ProjectRecord | None:
    """The project, or None where nothing was ever set for one of that name."""
    row = tx.execute(sa.select(projects).where(projects.c.id == id)).one_or_none()
    return None if row is None else record_of(ProjectRecord, row)


def page_projects(tx: Tx, *, only: str | None, page: Page) -> tuple[list[ProjectRecord], bool]:
    """A window of all projects, or of the one that is named, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(projects) if only is None else sa.select(projects).where(projects.c.id == only)
    rows, more = window(tx, query, table=projects, page=page)
    return [record_of(ProjectRecord, row) for row in rows], more


def change_project(tx: Tx, id: str, *, values: Mapping[str, Any]) -> ProjectRecord:
    """The project with these limits and this metadata in place of what it had; None is the server's limit.

    Raises:
        NotFound: there is none of that name.
    """
    if values:
        tx.execute(sa.update(projects).where(projects.c.id == id).values(**values))
    return get_project(tx, id)


def held(tx: Tx, id: str, *, now: float) -> ProjectRecord:
    """The project, whose use nobody else counts and adds to before this transaction ends."""
    ensure(tx, id, now=now)
    return record_of(ProjectRecord, tx.execute(sa.select(projects).where(projects.c.id == id).with_for_update()).one())


def num_waiting_jobs(tx: Tx, id: str) -> int:
    """How many jobs that somebody ordered wait, paused ones among them.

    Index jobs follow from documents, but for those of versions.
    """
    return waiting_jobs_of(tx, [id])[id]


def waiting_jobs_of(tx: Tx, ids: Sequence[str]) -> Counter[str]:
    """That number for each of the projects."""
    of_version = sa.type_coerce(jobs.c.spec, sa.Text()).contains('"of_model":', autoescape=True)
    ordered = sa.or_(jobs.c.kind != JobKind.INDEX, of_version)
    waiting = sa.and_(jobs.c.status.in_([JobStatus.QUEUED, JobStatus.PAUSED]), ordered)
    query = sa.select(jobs.c.project, sa.func.count()).where(jobs.c.project.in_(ids), waiting)
    return Counter(dict(tx.execute(query.group_by(jobs.c.project)).all()))


def stored_bytes(tx: Tx, id: str) -> int:
    """What its files, parts of uploads, models, exports, evaluations, documents and indexes take on disk."""
    return stored_bytes_of(tx, [id])[id]


def stored_bytes_of(tx: Tx, ids: Sequence[str]) -> Counter[str]:
    """That number for each of the projects."""
    of_uploads = sa.and_(upload_parts.c.upload_id == uploads.c.id, uploads.c.status == UploadStatus.PENDING)
    kept = (
        *((one.c.project, one.c.num_bytes, None) for one in (files, models, exports, evaluations, collections)),
        (uploads.c.project, upload_parts.c.num_bytes, of_uploads),
        (collections.c.project, versions.c.num_bytes, versions.c.collection_id == collections.c.id),
    )
    stored: Counter[str] = Counter()
    for project, num_bytes, joined in kept:
        query = sa.select(project, sa.func.sum(num_bytes)).where(project.in_(ids)).group_by(project)
        for id, num in tx.execute(query if joined is None else query.where(joined)):
            stored[id] += int(num)
    return stored


def _added(tx: Tx, project: ProjectRecord) -> bool:
    statement = insert(tx, projects).values(values_of(project, projects)).on_conflict_do_nothing()
    return tx.execute(statement.returning(projects.c.id)).first() is not None
