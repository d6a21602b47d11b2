"""The artifact root: where uploads, models and indexes lie, and how they appear there whole or not at all.

Order of a publication: every file written and synced, checksums last, one rename, then the row that makes it visible.
A process that dies between the rename and the commit leaves a folder that no row names: it is never read.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from service.store.errors import (
    ArtifactCorrupt,
    ArtifactsUnavailable,
    Conflict,
    InvalidValue,
    SchemaMismatch,
    StorageFull,
)

CHECKSUMS: Final = "checksums.json"
"""Size and SHA-256 of every other file of a sealed folder; written last, so a folder without it is unfinished."""

REPORT: Final = "report.json"
"""In a model's folder: what decided it, and what was measured of it."""

LAYOUT: Final = 1

_FOLDERS = ("files", "tmp", "models", "collections", "vectors", "runs")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the file system refuses inside becomes an error of the store: StorageFull or ArtifactsUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"The artifact root has no room ({error.strerror}); free disk space and try again"
            ) from error
        raise ArtifactsUnavailable(f"{error.filename or 'a file'}: {error.strerror or error}") from error


class Artifacts:
    """Names every path below the root, and publishes, checks and discards what lies there."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @disk_errors()
    def prepare(self) -> None:
        """The folders exist, on one file system, in the layout that this program knows.

        Raises:
            SchemaMismatch: a newer program has written it.
            ArtifactsUnavailable: it cannot be written, or a rename inside it would not be atomic.
        """
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if len({(self.root / name).stat().st_dev for name in _FOLDERS}) > 1:
            raise ArtifactsUnavailable(f"{self.root} spans several file systems, where no rename is atomic; use one")
        with (self.root / ".layout").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            file.seek(0)
            found = file.read().strip()
            if not found:
                file.write(f"{LAYOUT}\n")
            elif found != str(LAYOUT):
                raise SchemaMismatch(f"{self.root} has layout {found}, this program knows {LAYOUT}; update the program")

    def file_path(self, id: str) -> Path:
        """Where the bytes of an upload lie."""
        return self.root / "files" / _name(id)

    def stored_file(self, id: str, *, num_bytes: int) -> Path:
        """Where an upload lies, which is there and as long as it was.

        Raises:
            ArtifactCorrupt: it is not.
        """
        path = self.file_path(id)
        found = path.stat().st_size if path.is_file() else None
        if found != num_bytes:
            reason = "is gone" if found is None else f"has {found} bytes instead of {num_bytes}"
            raise ArtifactCorrupt("files", file=id, reason=reason)
        return path

    def model_path(self, folder: str) -> Path:
        """Where a published model lies."""
        return self.root / "models" / _name(folder)

    def collection_version_path(self, collection_id: str, version_id: str) -> Path:
        """Where a version's index lies."""
        return self.root / "collections" / _name(collection_id) / _name(version_id)

    def run_path(self, job_id: str, attempt: int) -> Path:
        """Where an attempt keeps its order, its log and what it makes; a later attempt has its own."""
        return self.root / "runs" / _name(job_id) / str(attempt)

    @property
    def gpu_locks(self) -> Path:
        """Where a training keeps others off its GPUs: files beside the folders of the runs, never removed."""
        return self.root / "runs"

    @property
    def vectors_root(self) -> Path:
        """Where the library caches embeddings."""
        return self.root / "vectors"

    def new_part(self) -> Path:
        """A path for something unfinished that nothing else will use; nothing is there yet."""
        return self.root / "tmp" / f"{uuid4().hex}.part"

    @disk_errors()
    def seal(self, staging: Path) -> None:
        """Every file of the folder is on disk, readable by all, and listed with its checksum.

        Raises:
            StorageFull: there is no room for the list.
            InvalidValue: the folder holds a link or a device.
        """
        (staging / CHECKSUMS).unlink(missing_ok=True)
        listed: dict[str, Any] = {}
        for path in sorted(staging.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InvalidValue(f"{path.relative_to(staging)} is no plain file; an artifact holds nothing else")
            if path.is_file():
                listed[path.relative_to(staging).as_posix()] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
                path.chmod(0o644)  # safetensors writes 0600, which a gateway under another user cannot read
                _sync(path)
        checksums = staging / CHECKSUMS
        checksums.write_text(json.dumps({"files": listed}, indent=1), encoding="utf-8")
        checksums.chmod(0o644)
        _sync(checksums)
        for folder in (*(path for path in staging.rglob("*") if path.is_dir()), staging):
            folder.chmod(0o755)
            _sync(folder)

    @disk_errors()
    def publish(self, staging: Path, target: Path) -> None:
        """What was staged (a sealed folder, a written file) lies at the target, whole, also after a power cut.

        Raises:
            Conflict: something lies there already; what is published is never overwritten.
            StorageFull: there is no room.
        """
        self._inside(target)
        if target.exists():
            raise Conflict("conflict", f"{target.relative_to(self.root)} exists already and is never overwritten")
        target.parent.mkdir(parents=True, exist_ok=True)
        if staging.is_file():
            staging.chmod(0o644)
            _sync(staging)
        staging.rename(target)
        _sync(target.parent)
        _sync(target.parent.parent)  # the parent itself may be new

    def verify(self, folder: Path) -> None:
        """Every file that was sealed is there, unchanged.

        Raises:
            ArtifactCorrupt: naming the first file that is not.
        """
        for name, expected in _checksums(folder).items():
            path = folder / name
            try:
                if path.stat().st_size != expected["bytes"]:
                    raise ArtifactCorrupt(folder.name, file=name, reason="has another size than was written")
                if _sha256(path) != expected["sha256"]:
                    raise ArtifactCorrupt(folder.name, file=name, reason="has another SHA-256 than was written")
            except OSError as error:
                raise ArtifactCorrupt(folder.name, file=name, reason=f"cannot be read ({error.strerror})") from error

    @disk_errors()
    def discard(self, path: Path) -> None:
        """Nothing is at the path any more; it goes at once as a whole, and what is open stays readable."""
        self._inside(path)
        doomed = self.root / "tmp" / f"{uuid4().hex}.discarded"
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return
        _remove(doomed)

    @disk_errors()
    def sweep_tmp(self, older_than_seconds: float) -> int:
        """What lies unfinished and untouched for that long is gone; returns how many things that were."""
        limit = time.time() - older_than_seconds  # the file system's times are wall time
        old = [path for path in (self.root / "tmp").iterdir() if path.lstat().st_mtime < limit]
        for path in old:
            _remove(path)
        return len(old)

    def _inside(self, path: Path) -> None:
        """Our own code is wrong, or somebody linked a folder away, if this fails."""
        if not path.resolve().is_relative_to(self.root.resolve()) or path.resolve() == self.root.resolve():
            raise InvalidValue(f"{path} does not lie inside {self.root}")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidValue(f"{name!r} cannot be the name of an artifact")
    return name


def _checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """File name → bytes and sha256, with no name that leads out of the folder."""
    try:
        files = json.loads((folder / CHECKSUMS).read_bytes())["files"]
        sound = all(
            {"bytes", "sha256"} <= set(entry) and not Path(name).is_absolute() and ".." not in Path(name).parts
            for name, entry in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt(folder.name, file=CHECKSUMS, reason="cannot be read") from error
    if not sound:
        raise ArtifactCorrupt(folder.name, file=CHECKSUMS, reason="is not a list of this folder's files")
    return dict(files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """The file's bytes, or the folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
