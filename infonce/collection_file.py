"""A collection as one file: a plain tar of a manifest, the documents and their vectors, read where it lies.

Nothing of it is unpacked, so that a file takes no more room than was sent: a part is a piece of the tar.
`manifest.json` says what the collection is, and size and SHA-256 of the other parts; `documents.jsonl` has a document
a line; `vectors.f32` has a row of little-endian float32 for each, of unit length, or of zeros where none is known.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.digest import sha256_of
from infonce.errors import InvalidCollection
from infonce.plain_tar import pack_files

FORMAT: Final = "infonce.collection"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
DOCUMENTS: Final = "documents.jsonl"
VECTORS: Final = "vectors.f32"
ROWS_AT_ONCE: Final = 4_096
"""6 MB at 384 dimensions."""
MAX_MANIFEST_BYTES: Final = 256 << 10

_PARTS: Final = (MANIFEST, DOCUMENTS, VECTORS)
_BLOCK: Final = tarfile.BLOCKSIZE
_CHUNK_BYTES: Final = 1 << 20
_REMEDY: Final = "export the collection again and send the file as it came"


def pack_collection(folder: Path, target: Path, *, facts: Mapping[str, Any], stop: Callable[[], bool]) -> None:
    """The target is the file of a collection whose documents and vectors lie in the folder.

    Raises:
        Stopped: `stop()` was true at a chunk's edge.
    """
    parts = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
        for name in (DOCUMENTS, VECTORS)
    }
    manifest = {"format": FORMAT, "version": VERSION, **facts, "parts": parts}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    pack_files(folder, target, names=_PARTS, stop=stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A piece of the file."""

    offset: int
    num_bytes: int


class CollectionFile:
    """A file that has all parts of an exported collection; whether they are whole, `check_part` tells."""

    def __init__(self, path: Path, parts: Mapping[str, _Part]) -> None:
        self._path = path
        self._parts = parts

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file, whose members are the parts and nothing else.

        Raises:
            InvalidCollection: it is no such file, or it is cut off.
        """
        parts = dict(_members(path))
        for name in _PARTS:
            if name not in parts:
                raise InvalidCollection(f"{name} is missing; {_REMEDY}")
        return cls(path, parts)

    def manifest(self) -> bytes:
        """The manifest's bytes, which are of this format and version.

        Raises:
            InvalidCollection: they are not.
        """
        part = self._parts[MANIFEST]
        if part.num_bytes > MAX_MANIFEST_BYTES:
            message = f"{MANIFEST} has {part.num_bytes} bytes; the limit is {MAX_MANIFEST_BYTES}"
            raise InvalidCollection(f"{message}; {_REMEDY}")
        with self._path.open("rb") as file:
            file.seek(part.offset)
            content = file.read(part.num_bytes)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise InvalidCollection(f"{MANIFEST} is no JSON; {_REMEDY}") from None
        said = (found.get("format"), found.get("version")) if isinstance(found, dict) else (None, None)
        if said[0] != FORMAT:
            raise InvalidCollection(f"{MANIFEST} says format {str(said[0])[:80]!r}; it must be {FORMAT!r}")
        if type(said[1]) is not int or said[1] != VERSION:
            message = f"the file has version {str(said[1])[:80]} of its format, and {VERSION} is read here"
            raise InvalidCollection(f"{message}; take a server of the version that wrote it, or a newer one")
        return content

    def check_part(self, name: str, *, num_bytes: int, sha256: str) -> None:
        """The part is as long as is said, and has that SHA-256.

        Raises:
            InvalidCollection: it is another one.
        """
        part = self._parts[name]
        if part.num_bytes != num_bytes:
            message = f"{name} has {part.num_bytes} bytes and the manifest says {num_bytes}"
            raise InvalidCollection(f"{message}; {_REMEDY}")
        digest, left = hashlib.sha256(), part.num_bytes
        with self._path.open("rb", buffering=0) as file:
            file.seek(part.offset)
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                digest.update(chunk)
                left -= len(chunk)
        if digest.hexdigest() != sha256:
            message = f"{name} has the SHA-256 {digest.hexdigest()} and the manifest says {sha256}"
            raise InvalidCollection(f"{message}; {_REMEDY}")

    @contextmanager
    def documents(self) -> Iterator["PartLines"]:
        """The lines of the documents."""
        part = self._parts[DOCUMENTS]
        with self._path.open("rb") as file:
            file.seek(part.offset)
            yield PartLines(file, part.num_bytes)

    def vectors(self, count: int, *, dimension: int) -> "VectorRows":
        """The vectors, one for each document.

        Raises:
            InvalidCollection: the part has another size.
        """
        part, needed = self._parts[VECTORS], 4 * count * dimension
        if part.num_bytes != needed:
            message = f"{VECTORS} has {part.num_bytes} bytes, and {count} documents of {dimension} dimensions {needed}"
            raise InvalidCollection(f"{message}; {_REMEDY}")
        return VectorRows(self._path, part.offset, shape=(count, dimension))


class VectorRows:
    """The rows of the vectors, read as they are asked for: mapped, they would all stay in memory that is counted."""

    def __init__(self, path: Path, offset: int, *, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._path = path
        self._offset = offset
        self._start = 0
        self._window = np.empty((0, shape[1]), dtype="<f4")

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """The rows from `start` to before `stop`, or to the last one.

        Shape:
            returns (n, D) float32.
        """
        count, dimension = max(0, min(stop, self.shape[0]) - start), self.shape[1]
        offset = self._offset + 4 * start * dimension
        numbers = np.fromfile(self._path, dtype="<f4", count=count * dimension, offset=offset)
        return numbers.reshape(count, dimension)

    def row(self, number: int) -> NDArray[np.float32]:
        """One row; its neighbours are read with it.

        Shape:
            returns (D,) float32.
        """
        if not self._start <= number < self._start + len(self._window):
            self._start, self._window = number, self.block(number, number + ROWS_AT_ONCE)
        found: NDArray[np.float32] = self._window[number - self._start]
        return found


class PartLines:
    """The lines of a part, behind which the file goes on."""

    def __init__(self, file: BufferedReader, num_bytes: int) -> None:
        self._file = file
        self._left = num_bytes

    def readline(self, size: int, /) -> bytes:
        """The next line with its end, or its first `size` bytes; nothing at the end of the part."""
        line = self._file.readline(min(size, self._left))
        self._left -= len(line)
        return line


def _members(path: Path) -> Iterator[tuple[str, _Part]]:
    """Name and place of each part; only headers are given to `tarfile`, which believes what they say of lengths."""
    seen, size = set[str](), path.stat().st_size
    with path.open("rb") as file:
        while (header := file.read(_BLOCK)) != bytes(_BLOCK):
            name, num_bytes = _read_header(header)
            part = _Part(offset=file.tell(), num_bytes=num_bytes)
            end = part.offset + -(-num_bytes // _BLOCK) * _BLOCK
            if end > size:
                raise InvalidCollection(f"the file ends within {name}; {_REMEDY}")
            if name in seen:
                raise InvalidCollection(f"{name} is in the file twice; {_REMEDY}")
            seen.add(name)
            yield name, part
            file.seek(end)
        if file.read(tarfile.RECORDSIZE).strip(b"\0") or file.read(1):
            raise InvalidCollection(f"something follows the last part; {_REMEDY}")


def _read_header(header: bytes) -> tuple[str, int]:
    """Name and size of the member.

    Raises:
        InvalidCollection: it is no header, or that of something else than a part.
    """
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise InvalidCollection(f"the file is no tar, or it is cut off ({error}); {_REMEDY}") from None
    name = member.name.removeprefix("./")
    if name not in _PARTS or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        message = f"{member.name[:100]!r} is no part of an exported collection, whose plain files are"
        raise InvalidCollection(f"{message} {', '.join(_PARTS)}; {_REMEDY}")
    if member.size < 0:
        raise InvalidCollection(f"{name} has {member.size} bytes; {_REMEDY}")
    return name, member.size
