"""The artifact root: where uploads, models and indexes lie, and how they appear there whole or not at all.

Order of a publication: every file written and synced, checksums last, one rename, then the row that makes it visible.
A process that dies between the rename and the commit leaves a folder that no row names: it is never read.
"""

import errno
import fcntl
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from service.store.checksums import CHECKSUMS as CHECKSUMS
from service.store.checksums import listed_checksums, sha256_of, sync
from service.store.errors import (
    INDEX_REMEDY,
    MODEL_REMEDY,
    UPLOAD_REMEDY,
    ArtifactCorrupt,
    ArtifactsUnavailable,
    Conflict,
    InvalidValue,
    SchemaMismatch,
    StorageFull,
)

REPORT: Final = "report.json"
"""In a model's folder: what decided it, and what was measured of it."""

MINED: Final = "mined.jsonl"
"""What a mining job leaves in its staging folder."""

EXPORTED: Final = "model.tar"
EXPORTED_COLLECTION: Final = "collection.tar"
"""What exports leave in their staging folders."""

LAYOUT: Final = 1

_FOLDERS = (
    "files", "uploads", "audits", "tmp", "models", "exports", "collections", "evaluations", "vectors", "runs",
)  # fmt: skip
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


def queries_file(number: int, outcome: str) -> str:
    """The queries of an evaluation's comparison of that number, from 1, that ended so; a JSON object a line."""
    return f"{number}-{outcome}.jsonl"


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

    @disk_errors()
    def stored_file(self, id: str, *, num_bytes: int, sha256: str) -> Path:
        """Where an upload lies, which is what was received; reading 1 GiB of it takes about a second.

        Raises:
            ArtifactCorrupt: it is not.
        """
        path = self.whole_file(id, num_bytes=num_bytes)
        if sha256_of(path) != sha256:
            raise ArtifactCorrupt(
                "files", file=id, reason="has another SHA-256 than was received", remedy=UPLOAD_REMEDY
            )
        return path

    @disk_errors()
    def whole_file(self, id: str, *, num_bytes: int) -> Path:
        """Where an upload lies, all of whose bytes are there; whether they are those that came is not looked at.

        Raises:
            ArtifactCorrupt: some are missing.
        """
        path = self.file_path(id)
        found = path.stat().st_size if path.is_file() else None
        if found != num_bytes:
            reason = "is gone" if found is None else f"has {found} bytes instead of {num_bytes}"
            raise ArtifactCorrupt("files", file=id, reason=reason, remedy=UPLOAD_REMEDY)
        return path

    def upload_path(self, upload_id: str) -> Path:
        """Where the parts of an unfinished upload lie."""
        return self.root / "uploads" / _name(upload_id)

    def part_path(self, upload_id: str, part_id: str) -> Path:
        """Where the bytes of one part lie."""
        return self.upload_path(upload_id) / _name(part_id)

    def model_path(self, folder: str) -> Path:
        """Where a published model lies."""
        return self.root / "models" / _name(folder)

    def collection_version_path(self, collection_id: str, version_id: str) -> Path:
        """Where a version's index lies."""
        return self.root / "collections" / _name(collection_id) / _name(version_id)

    def export_path(self, folder: str) -> Path:
        """Where the tar of an export lies, in a folder of its own."""
        return self.root / "exports" / _name(folder)

    def evaluation_path(self, folder: str) -> Path:
        """Where the values of an evaluation's queries lie."""
        return self.root / "evaluations" / _name(folder)

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
    def seal(self, staging: Path) -> int:
        """Every file of the folder is on disk, readable by all, and listed with its checksum; returns their bytes.

        Raises:
            StorageFull: there is no room for the list.
            InvalidValue: the folder holds a link or a device.
        """
        (staging / CHECKSUMS).unlink(missing_ok=True)
        listed: dict[str, Any] = {}
        num_bytes = 0
        for path in sorted(staging.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InvalidValue(f"{path.relative_to(staging)} is no plain file; an artifact holds nothing else")
            if path.is_file():
                listed[path.relative_to(staging).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
                num_bytes += path.stat().st_size
                path.chmod(0o644)  # safetensors writes 0600, which a gateway under another user cannot read
                sync(path)
        checksums = staging / CHECKSUMS
        checksums.write_text(json.dumps({"files": listed}, indent=1), encoding="utf-8")
        checksums.chmod(0o644)
        sync(checksums)
        for folder in (*(path for path in staging.rglob("*") if path.is_dir()), staging):
            folder.chmod(0o755)
            sync(folder)
        return num_bytes

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
            sync(staging)
        staging.rename(target)
        sync(target.parent)
        sync(target.parent.parent)  # the parent itself may be new

    def verify(self, folder: Path, *, part: str = "", read: Callable[[int], object] = lambda num_bytes: None) -> None:
        """Every file that was sealed, and whose name begins with `part`, is there, unchanged.

        `read` is told the size of each piece of a file that was read, and may wait or raise.

        Raises:
            ArtifactCorrupt: naming the first file that is not.
        """
        is_index = folder.absolute().is_relative_to(self.root / "collections")
        corrupt = partial(ArtifactCorrupt, folder.name, remedy=INDEX_REMEDY if is_index else MODEL_REMEDY)
        for name, expected in (one for one in listed_checksums(folder, corrupt).items() if one[0].startswith(part)):
            path = folder / name
            try:
                if path.stat().st_size != expected["bytes"]:
                    raise corrupt(file=name, reason="has another size than was written")
                if sha256_of(path, read=read) != expected["sha256"]:
                    raise corrupt(file=name, reason="has another SHA-256 than was written")
            except OSError as error:
                raise corrupt(file=name, reason=f"cannot be read ({error.strerror})") from error

    def kept_paths(self) -> list[Path]:
        """Everything that rows may name, and what is unfinished: files, folders of models, versions, vectors, runs."""
        below = {name: sorted((self.root / name).iterdir()) for name in _FOLDERS}
        below["collections"] = [path for folder in below["collections"] for path in sorted(folder.iterdir())]
        below["runs"] = [path for path in below["runs"] if path.is_dir()]  # beside them lie locks, which stay
        return [path for paths in below.values() for path in paths]

    def sealed_files(self, folder: Path) -> dict[str, tuple[int, str]]:
        """Size and SHA-256 of every file of a sealed folder, by its name in the folder; the list itself not among them.

        Raises:
            ArtifactCorrupt: the list cannot be read.
        """
        corrupt = partial(ArtifactCorrupt, folder.name)
        return {name: (entry["bytes"], entry["sha256"]) for name, entry in listed_checksums(folder, corrupt).items()}

    def free_bytes(self) -> int:
        """The room that is left where the artifacts lie, for this user.

        Raises:
            ArtifactsUnavailable: the file system does not say.
        """
        with disk_errors():
            return shutil.disk_usage(self.root).free

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


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
