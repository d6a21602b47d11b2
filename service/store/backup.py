"""A copy of everything that the database names, taken while others work, and a home made of such a copy.

The database comes first: what it names then is immutable, and every byte is hashed as it is copied.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from service.store.artifacts import Artifacts, disk_errors
from service.store.backup_folder import (
    BACKUP_REMEDY,
    Copied,
    Copier,
    new_folder,
    read_manifest,
    write_manifest,
)
from service.store.checksums import CHECKSUMS, sha256_of, sync
from service.store.database import Database, sqlite_path, sqlite_url
from service.store.errors import ArtifactCorrupt, Conflict, InvalidSetting
from service.store.settings import DATABASE_URL, HOME_ARTIFACTS, HOME_DATABASE
from service.store.tables import evaluations, exports, files, models, versions
from service.store.upload_tables import upload_parts

_MAX_SNAPSHOTS = 20  # each takes the database anew, after something that it named was deleted meanwhile
_DAMAGE_REMEDY = "restore it from an older backup, or pass --leave-out-damaged"

Artifact = dict[str, Copied | None]
"""Its files by their paths below the artifact root; of None nobody has written down what it has to be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What was copied, and what was left out because it is damaged."""

    num_files: int
    num_bytes: int
    damaged: tuple[str, ...] = ()


@disk_errors()
def back_up(
    url: str, artifacts: Artifacts, *, target: Path, leave_out_damaged: bool, tell: Callable[[str], None]
) -> Summary:
    """The target folder holds a copy of which `restore` makes a home; others may read and write meanwhile.

    Checkpoints and caches are not in it: a job that runs now begins anew in the restored home.

    Raises:
        InvalidSetting: the database is a server, which has its own tool.
        SchemaMismatch: the database is not at this program's schema.
        Conflict: the target has something in it, or files were deleted during every try.
        ArtifactCorrupt: a file is not what was written, and is not to be left out; nothing of the copy is kept.
        StorageFull: there is no room; nothing of the copy is kept.
    """
    path = sqlite_path(url)
    if path is None:
        remedy = "names a PostgreSQL database, which this command does not copy; use pg_dump for it, and then copy "
        raise InvalidSetting(DATABASE_URL, f"{remedy}{artifacts.root} with any tool")
    Database.open(url).close()  # its schema is the one that the manifest will name
    with new_folder(target) as folder:
        backup = _Backup(artifacts, path, folder=folder, tell=tell)
        copied, damaged = backup.take(leave_out_damaged=leave_out_damaged)
        write_manifest(folder, copied, damaged=damaged)
    num_bytes = sum(file.num_bytes for file in copied.values())
    return Summary(num_files=len(copied), num_bytes=num_bytes, damaged=tuple(damaged))


@disk_errors()
def restore(source: Path, *, home: Path, tell: Callable[[str], None]) -> Summary:
    """The home is what the backup was taken of, byte for byte; it appears whole or not at all.

    Raises:
        Conflict: the home has something in it, or the source is no finished backup.
        SchemaMismatch: a newer program has written it.
        ArtifactCorrupt: a file of the backup is missing or damaged.
    """
    listed, damaged = read_manifest(source)
    with new_folder(home) as folder:
        copier = Copier(source, folder, tell=tell)
        for name, expected in listed.items():
            try:
                copier.copy(name, expected, remedy=BACKUP_REMEDY)
            except FileNotFoundError as error:
                raise ArtifactCorrupt(source.name, file=name, reason="is missing", remedy=BACKUP_REMEDY) from error
        (folder / HOME_DATABASE).chmod(0o600)
        Artifacts(folder / HOME_ARTIFACTS).prepare()
    num_bytes = sum(file.num_bytes for file in listed.values())
    return Summary(num_files=len(listed), num_bytes=num_bytes, damaged=tuple(damaged))


class _Backup:
    """One backup while it is taken."""

    def __init__(self, artifacts: Artifacts, database: Path, *, folder: Path, tell: Callable[[str], None]) -> None:
        self._artifacts = artifacts
        self._database = database
        self._folder = folder
        self._copier = Copier(artifacts.root, folder / HOME_ARTIFACTS, tell=tell)
        self._copied: dict[str, dict[str, Copied]] = {}
        self._damaged: set[str] = set()

    def take(self, *, leave_out_damaged: bool) -> tuple[dict[str, Copied], list[str]]:
        """Every file of the backup, and the artifacts that are damaged."""
        for _ in range(_MAX_SNAPSHOTS):
            snapshot = _copy_database(self._database, self._folder / HOME_DATABASE)
            named = _named(self._artifacts, self._folder / HOME_DATABASE)
            for artifact in (self._copied.keys() | self._damaged) - named.keys():
                self._forget(artifact)  # of an earlier snapshot
            if self._copy_all(named, leave_out_damaged=leave_out_damaged):
                copied = [file for artifact in self._copied.values() for file in artifact.items()]
                below = {f"{HOME_ARTIFACTS}/{name}": file for name, file in copied}
                return {HOME_DATABASE: snapshot, **below}, sorted(self._damaged)
        raise Conflict("conflict", f"Files were deleted during each of {_MAX_SNAPSHOTS} tries; try again later")

    def _copy_all(self, named: dict[str, Artifact | None], *, leave_out_damaged: bool) -> bool:
        """Everything that is named is copied or damaged; False if something was deleted meanwhile."""
        for artifact, listed in named.items():
            if artifact in self._copied or artifact in self._damaged:
                continue
            try:
                expected = listed or self._sealed(artifact)
                copy = self._copier.copy
                self._copied[artifact] = {name: copy(name, e, remedy=_DAMAGE_REMEDY) for name, e in expected.items()}
            except (ArtifactCorrupt, FileNotFoundError) as error:
                if artifact not in _named(self._artifacts, self._database):
                    return False
                if not leave_out_damaged:
                    raise _as_damage(artifact, error) from error
                self._forget(artifact)
                self._damaged.add(artifact)
        return True

    def _sealed(self, artifact: str) -> Artifact:
        listed = self._artifacts.sealed_files(self._artifacts.root / artifact)
        files = {f"{artifact}/{name}": Copied(num_bytes=size, sha256=sha) for name, (size, sha) in listed.items()}
        return {**files, f"{artifact}/{CHECKSUMS}": None}

    def _forget(self, artifact: str) -> None:
        """Nothing of it is in the backup."""
        self._copied.pop(artifact, None)
        self._damaged.discard(artifact)
        path = self._folder / HOME_ARTIFACTS / artifact
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _copy_database(path: Path, target: Path) -> Copied:
    """One state of the database as one file; nobody has to wait for it."""
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # no side files
        [said] = copy.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise ArtifactCorrupt(path.parent.name, file=path.name, reason=f"is damaged ({said})", remedy=BACKUP_REMEDY)
    target.chmod(0o600)
    sync(target)
    return Copied(num_bytes=target.stat().st_size, sha256=sha256_of(target))


def _named(artifacts: Artifacts, database: Path) -> dict[str, Artifact | None]:
    """Path below the root of each artifact that the database names → its file; None where it is a sealed folder."""
    found: dict[str, Artifact | None] = {}
    engine = sa.create_engine(sqlite_url(database))
    try:
        with engine.connect() as tx:
            for row in tx.execute(sa.select(files.c.id, files.c.num_bytes, files.c.sha256)):
                name = str(artifacts.file_path(row.id).relative_to(artifacts.root))
                found[name] = {name: Copied(num_bytes=row.num_bytes, sha256=row.sha256)}
            for row in tx.execute(sa.select(upload_parts)):
                name = str(artifacts.part_path(row.upload_id, row.id).relative_to(artifacts.root))
                found[name] = {name: Copied(num_bytes=row.num_bytes, sha256=row.sha256)}
            folders = [artifacts.model_path(name) for name in tx.execute(sa.select(models.c.folder)).scalars()]
            evaluated = tx.execute(sa.select(evaluations.c.folder).where(evaluations.c.folder.is_not(None))).scalars()
            folders += [artifacts.evaluation_path(name) for name in evaluated]
            exported = sa.select(exports.c.folder).where(exports.c.folder.is_not(None))
            folders += [artifacts.export_path(name) for name in tx.execute(exported).scalars()]
            built = sa.select(versions.c.collection_id, versions.c.folder).where(versions.c.folder.is_not(None))
            for collection, folder in tx.execute(built).all():
                folders.append(artifacts.collection_version_path(collection, folder))
    finally:
        engine.dispose()
    return found | {str(path.relative_to(artifacts.root)): None for path in folders}


def _as_damage(artifact: str, error: ArtifactCorrupt | FileNotFoundError) -> ArtifactCorrupt:
    if isinstance(error, ArtifactCorrupt):
        return error
    folder, _, name = artifact.rpartition("/")
    return ArtifactCorrupt(folder, file=name, reason="is gone, or a file of it", remedy=_DAMAGE_REMEDY)
