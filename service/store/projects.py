"""Projects: who owns objects, and how much each may use."""

from collections.abc import Mapping

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.errors import Conflict, NotFound
from service.store.paging import window
from service.store.records import JobKind, JobStatus, Page, ProjectRecord
from service.store.tables import (
    collections,
    evaluations,
    files,
    jobs,
    model_exports,
    models,
    projects,
    record_of,
    upload_parts,
    uploads,
    values_of,
    versions,
)
from service.store.upload_status import UploadStatus


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


def set_limits(tx: Tx, id: str, *, limits: Mapping[str, int | None]) -> ProjectRecord:
    """The project with these limits in place of those it had; None is the server's.

    Raises:
        NotFound: there is none of that name.
    """
    if limits:
        tx.execute(sa.update(projects).where(projects.c.id == id).values(**limits))
    return get_project(tx, id)


def held(tx: Tx, id: str, *, now: float) -> ProjectRecord:
    """The project, whose use nobody else counts and adds to before this transaction ends."""
    ensure(tx, id, now=now)
    return record_of(ProjectRecord, tx.execute(sa.select(projects).where(projects.c.id == id).with_for_update()).one())


def num_waiting_jobs(tx: Tx, id: str) -> int:
    """How many jobs that somebody ordered wait, paused ones among them; index jobs follow from documents."""
    waiting = sa.and_(jobs.c.status.in_([JobStatus.QUEUED, JobStatus.PAUSED]), jobs.c.kind != JobKind.INDEX)
    query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.project == id, waiting)
    return tx.execute(query).scalar_one()


def stored_bytes(tx: Tx, id: str) -> int:
    """What its files, parts of uploads, models, exports, evaluations, documents and indexes take on disk."""
    of_collections = sa.select(collections.c.id).where(collections.c.project == id)
    of_uploads = sa.select(uploads.c.id).where(uploads.c.project == id, uploads.c.status == UploadStatus.PENDING)
    queries = (
        sa.select(sa.func.sum(files.c.num_bytes)).where(files.c.project == id),
        sa.select(sa.func.sum(upload_parts.c.num_bytes)).where(upload_parts.c.upload_id.in_(of_uploads)),
        sa.select(sa.func.sum(models.c.num_bytes)).where(models.c.project == id),
        sa.select(sa.func.sum(model_exports.c.num_bytes)).where(model_exports.c.project == id),
        sa.select(sa.func.sum(evaluations.c.num_bytes)).where(evaluations.c.project == id),
        sa.select(sa.func.sum(collections.c.num_bytes)).where(collections.c.project == id),
        sa.select(sa.func.sum(versions.c.num_bytes)).where(versions.c.collection_id.in_(of_collections)),
    )
    return sum(int(tx.execute(query).scalar_one() or 0) for query in queries)


def _added(tx: Tx, project: ProjectRecord) -> bool:
    statement = insert(tx, projects).values(values_of(project, projects)).on_conflict_do_nothing()
    return tx.execute(statement.returning(projects.c.id)).first() is not None
