"""The form of a backup: copied files below one folder, and a manifest of all their sizes and SHA-256, written last."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from uuid import uuid4

from service.store.artifacts import LAYOUT
from service.store.checksums import sync
from service.store.errors import ArtifactCorrupt, Conflict, SchemaMismatch
from service.store.tables import SCHEMA_VERSION

MANIFEST: Final = "backup.json"
BACKUP_REMEDY: Final = "use another backup"
_FORMAT = 1
_TELL_SECONDS = 2.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """A file as it was copied, or has to be."""

    num_bytes: int
    sha256: str


class Copier:
    """Copies files from one folder to another; tells how far it is, at most every two seconds."""

    def __init__(
        self,
        source: Path,
        target: Path,
        *,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._target = target
        self._tell = tell
        self._clock = clock
        self._told_at = clock()
        self._num_files = self._num_bytes = 0

    def copy(self, name: str, expected: Copied | None, *, remedy: str) -> Copied:
        """The file of that relative path is in the target and on disk; None expects nothing of it.

        Raises:
            ArtifactCorrupt: it is not what was expected; nothing of it is in the target.
            FileNotFoundError: it is not there.
        """
        target, digest, size = self._target / name, hashlib.sha256(), 0
        with (self._source / name).open("rb") as source:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                while chunk := source.read(_CHUNK_BYTES):
                    copy.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    self._say(self._num_bytes + size)
                copy.flush()
                os.fsync(copy.fileno())
        found = Copied(num_bytes=size, sha256=digest.hexdigest())
        if expected not in (None, found):
            target.unlink()
            folder, _, file = name.rpartition("/")
            reason = "is not the file that was written"
            raise ArtifactCorrupt(folder or self._source.name, file=file, reason=reason, remedy=remedy)
        self._num_files += 1
        self._num_bytes += size
        return found

    def _say(self, num_bytes: int) -> None:
        if self._clock() - self._told_at >= _TELL_SECONDS:
            self._told_at = self._clock()
            self._tell(f"{self._num_files:,} files and {num_bytes:,} bytes are copied …")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its place at the end, on disk; it is gone if anything goes wrong inside.

    Raises:
        Conflict: there is something at the path.
    """
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Conflict("conflict", f"{path} is not empty; name a folder that does not exist yet")
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.parent / f".{path.name}-{uuid4().hex[:8]}.unfinished"
    growing.mkdir(mode=0o700)
    try:
        yield growing
        for folder in (*(found for found in growing.rglob("*") if found.is_dir()), growing):
            sync(folder)
        growing.rename(path)  # an empty folder is replaced
        sync(path.parent)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def write_manifest(folder: Path, copied: Mapping[str, Copied], *, damaged: list[str]) -> None:
    """The folder is a backup: its files, what they are, and what it could not hold are written down."""
    files = {name: [file.num_bytes, file.sha256] for name, file in sorted(copied.items())}
    content: dict[str, Any] = {"format": _FORMAT, "schema": SCHEMA_VERSION, "layout": LAYOUT, "files": files}
    content |= {"created_at": int(time.time()), "damaged": damaged}
    path = folder / MANIFEST
    path.write_text(json.dumps({"digest": _digest(content), "content": content}, indent=1), encoding="utf-8")
    sync(path)


def read_manifest(folder: Path) -> tuple[dict[str, Copied], list[str]]:
    """The files of the backup, and what it could not hold.

    Raises:
        Conflict: it is no finished backup.
        ArtifactCorrupt: the manifest is not the one that was written.
        SchemaMismatch: a newer program has written it.
    """
    if not (folder / MANIFEST).is_file():
        raise Conflict("conflict", f"{folder} has no {MANIFEST}: it is no backup, or one that was never finished")
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        content: dict[str, Any] = manifest["content"]
        sound = _digest(content) == manifest["digest"] and all(map(_stays_inside, content["files"]))
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ArtifactCorrupt(folder.name, file=MANIFEST, reason="is not what was written", remedy=BACKUP_REMEDY)
    for name, known in (("format", _FORMAT), ("layout", LAYOUT), ("schema", SCHEMA_VERSION)):
        if content[name] > known:
            message = f"The backup has {name} {content[name]}, this program knows {known}; update the program"
            raise SchemaMismatch(message)
    copied = {name: Copied(num_bytes=size, sha256=sha256) for name, (size, sha256) in content["files"].items()}
    return copied, content["damaged"]


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
