"""What no row names and nothing will ever name again: found, measured and removed, while workers run.

Two things protect what is in use. Age: nothing is looked at before it has lain for hours. And the order: the folders
are listed before the rows are read, and in those rows a folder of an attempt that still runs is spared. An attempt
that no longer runs in that state is fenced, so that its folder can never be committed later.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from service.store.artifacts import Artifacts, disk_errors
from service.store.database import Database, Tx
from service.store.expiry import expire
from service.store.records import JobKind, JobStatus
from service.store.repeats import KEPT_SECONDS as REPEATS_KEPT_SECONDS
from service.store.tables import evaluations, exports, files, jobs, models, repeats, versions
from service.store.upload_tables import uploads
from service.store.uploads import is_pending

KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""For people to look at: the checkpoints of a job that was cancelled or diverged. A cached vector that no published
model can need (that of a base model, say) may save work for as long."""

_OF_PEOPLE = ("order.json", "log.txt")  # of an ended attempt: small, and all that tells what it did
_DIVERGED = "nan_loss"
_ATTEMPT = re.compile(r"(?P<job>.+)-a(?P<attempt>[0-9]+)")
_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unused:
    """One thing that is not needed any more."""

    name: str
    """Its path below the artifact root, or what rows it is."""
    why: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    status: JobStatus
    attempt: int
    finished_at: float
    diverged: bool

    def kept_until(self, older_than_seconds: float) -> float:
        """When its checkpoints may go; an unfinished one needs them."""
        if self.status not in _ENDED:
            return float("inf")
        shown = self.diverged or self.status is JobStatus.CANCELLED
        return self.finished_at + max(older_than_seconds, KEPT_SECONDS if shown else 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """One state of the database, as far as it decides what is needed."""

    files: frozenset[str]
    uploads: frozenset[str]
    """Those that may still be completed."""
    exports: frozenset[str]
    """The folders of those that may still be fetched."""
    models: frozenset[str]
    evaluations: frozenset[str]
    versions: frozenset[tuple[str, str]]
    prints: frozenset[str]
    jobs: dict[str, _Job]
    at_work_now: frozenset[str]
    """The collections that a running job makes an index of, or reads one of."""
    mined_now: bool
    """Whether a running job makes a file, which lies there before a row names it."""

    @classmethod
    def read(cls, tx: Tx, *, now: float) -> "_Rows":
        error = jobs.c.error
        found = tx.execute(sa.select(jobs.c.id, jobs.c.status, jobs.c.attempt, jobs.c.finished_at, error)).all()
        running = sa.and_(jobs.c.status == JobStatus.RUNNING, jobs.c.kind.in_([JobKind.INDEX, JobKind.EXPORT]))
        mining = sa.and_(jobs.c.status == JobStatus.RUNNING, jobs.c.kind == JobKind.MINE)
        folders = sa.select(evaluations.c.folder).where(evaluations.c.folder.is_not(None))
        exported = sa.select(exports.c.folder).where(exports.c.expires_at > now)
        made_by = [tx.execute(sa.select(table.c.fingerprint)).scalars() for table in (models, versions)]
        return cls(
            files=frozenset(tx.execute(sa.select(files.c.id)).scalars()),
            uploads=frozenset(
                tx.execute(sa.select(uploads.c.id).where(is_pending(), uploads.c.expires_at > now)).scalars()
            ),
            exports=frozenset(str(name) for name in tx.execute(exported).scalars()),
            models=frozenset(tx.execute(sa.select(models.c.folder)).scalars()),
            evaluations=frozenset(str(name) for name in tx.execute(folders).scalars()),
            versions=frozenset(
                (row.collection_id, row.folder)
                for row in tx.execute(sa.select(versions.c.collection_id, versions.c.folder))
            ),
            prints=frozenset(print for prints in made_by for print in prints if print is not None),
            jobs={
                row.id: _Job(
                    status=JobStatus(row.status),
                    attempt=row.attempt,
                    finished_at=row.finished_at or 0.0,
                    diverged=row.error is not None and row.error["code"] == _DIVERGED,
                )
                for row in found
            },
            at_work_now=frozenset(str(id) for id in tx.execute(sa.select(jobs.c.subject).where(running)).scalars()),
            mined_now=tx.execute(sa.select(jobs.c.id).where(mining).limit(1)).first() is not None,
        )


def remove_unused(
    database: Database, artifacts: Artifacts, *, now: float, older_than_seconds: float, dry_run: bool
) -> Iterator[Unused]:
    """Each thing that no row names and that has lain for so long, after it is gone; a dry run only tells of it.

    Raises:
        DatabaseUnavailable, ArtifactsUnavailable: one of them does not answer; what was told of is gone.
    """
    with disk_errors():
        old = [path for path in artifacts.kept_paths() if now - _touched(path) >= older_than_seconds]
    with database.read() as tx:
        rows = _Rows.read(tx, now=now)
    for path in old:
        for unused, why in _unused(artifacts, path, rows=rows, now=now, older_than_seconds=older_than_seconds):
            with disk_errors():
                num_bytes = _num_bytes(unused)
            if not dry_run:
                artifacts.discard(unused)
            yield Unused(name=str(unused.relative_to(artifacts.root)), why=why, num_bytes=num_bytes)
    if not dry_run:
        expire(database, artifacts, now=now)  # where no gateway runs, which does it every few seconds
    if (num := _expired_repeats(database, before=now - REPEATS_KEPT_SECONDS, dry_run=dry_run)) > 0:
        yield Unused(name=f"{num} repeated requests", why="older than 24 hours", num_bytes=0)


def _unused(
    artifacts: Artifacts, path: Path, *, rows: _Rows, now: float, older_than_seconds: float
) -> Iterator[tuple[Path, str]]:
    """The path, or what of it is not needed, and why."""
    kind, *_, name = path.relative_to(artifacts.root).parts
    if kind == "tmp":
        yield path, "unfinished or half removed"
    elif kind == "files" and name not in rows.files and not rows.mined_now:
        yield path, "no file of this id"
    elif kind == "uploads" and name not in rows.uploads:
        yield path, "the parts of an upload that has ended"
    elif kind == "exports" and name not in rows.exports and not _being_published(name, rows):
        yield path, "an export whose time is over, or that no row names"
    elif kind == "audits" and name.split(".")[0] not in rows.files:
        yield path, "the audit of no file"
    elif kind == "models" and name not in rows.models and not _being_published(name, rows):
        yield path, "no model names it"
    elif kind == "evaluations" and name not in rows.evaluations and not _being_published(name, rows):
        yield path, "no evaluation names it"
    elif kind == "collections":
        collection = path.parent.name
        if (collection, name) not in rows.versions and collection not in rows.at_work_now:
            yield path, "no version names it"
    elif kind == "vectors" and name.rpartition("-")[0] not in rows.prints and now - _touched(path) >= KEPT_SECONDS:
        yield path, "vectors of no published model"
    elif kind == "runs":
        job = rows.jobs.get(name)
        if job is None:
            yield path, "no such job"
        elif now >= job.kept_until(older_than_seconds):
            for left in sorted(path.glob("*/*")):
                if left.name not in _OF_PEOPLE:
                    yield left, f"of a job that is {job.status}"


def _being_published(folder: str, rows: _Rows) -> bool:
    """Whether the attempt that it belongs to still runs and may yet commit it."""
    if (match := _ATTEMPT.fullmatch(folder)) is None or (job := rows.jobs.get(match["job"])) is None:
        return False
    return job.status is JobStatus.RUNNING and str(job.attempt) == match["attempt"]


def _expired_repeats(database: Database, *, before: float, dry_run: bool) -> int:
    expired = repeats.c.created_at < before
    if dry_run:
        with database.read() as tx:
            return tx.execute(sa.select(sa.func.count()).select_from(repeats).where(expired)).scalar_one()
    with database.write() as tx:
        return tx.execute(sa.delete(repeats).where(expired)).rowcount


def _touched(path: Path) -> float:
    """When it came to lie there, or something in it did; inf if it has just gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return float("inf")
    return max(found.st_mtime, found.st_ctime)  # a rename sets the second alone


def _num_bytes(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    return sum(found.lstat().st_size for found in path.rglob("*") if not found.is_dir())
