"""A zip from a stranger: members are read as bounded streams, by name, and never unpacked to disk."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from infonce.bounded_file import BoundedFile
from infonce.errors import DatasetError, Issue

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_DIRECTORY_BYTES: Final = 1 << 20  # zipfile holds about 600 bytes for each entry of at least 46
_READ_BYTES: Final = 1 << 16
_ENCRYPTED: Final = 0x1  # bit 0 of an entry's flags, APPNOTE.TXT 4.4.4
# What zipfile raises on broken archives, found by changing bytes of good ones at random.
_BROKEN: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
)


@contextmanager
def open_archive(path: Path, *, max_unpacked_bytes: int) -> Iterator["Archive | Folder"]:
    """The archive, open until the block ends; a folder is one that was unpacked already.

    Raises:
        DatasetError: the file is no zip, or its directory cannot be read.
    """
    if path.is_dir():
        yield Folder(path)
        return
    raw, limit = path.open("rb", buffering=0), _MAX_DIRECTORY_BYTES
    with BoundedFile(raw, max_read_bytes=limit, broken=zipfile.BadZipFile) as stream:
        try:
            opened = zipfile.ZipFile(stream)
        except _BROKEN as error:
            raise _broken("corrupt_zip", f"the file is no zip that can be read ({error}); write it anew") from None
        with opened:
            yield Archive(opened, max_unpacked_bytes=max_unpacked_bytes)


class Archive:
    """The members of a zip; what is unpacked of all of them together is bounded."""

    def __init__(self, opened: zipfile.ZipFile, *, max_unpacked_bytes: int) -> None:
        self.names = tuple(name for name in opened.namelist() if name and not name.endswith("/"))
        self._zip = opened
        self._max_bytes = max_unpacked_bytes
        self._num_bytes = 0

    def open(self, name: str) -> io.BufferedReader:
        """A stream of what that member holds; reading it raises `DatasetError` as opening it does.

        Raises:
            DatasetError: the member is there twice, encrypted, packed in an unusual way or broken.
        """
        entry = self._zip.getinfo(name)
        if self.names.count(name) > 1:
            raise _broken("ambiguous_member", f"{name} is in the zip more than once; keep one")
        if entry.flag_bits & _ENCRYPTED:
            raise _broken("encrypted_zip", f"{name} is encrypted; write the zip without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            detail = f"{name} is packed by method {entry.compress_type}; only stored and deflated are read"
            raise _broken("unsupported_compression", detail)
        try:
            return io.BufferedReader(_Metered(self._zip.open(entry), name=name, archive=self), _READ_BYTES)
        except _BROKEN as error:
            raise _corrupt_member(name, error) from None

    def count(self, num_bytes: int) -> None:
        """Count what was unpacked: the sizes that the zip itself states may lie."""
        self._num_bytes += num_bytes
        if self._num_bytes > self._max_bytes:
            detail = f"the zip holds more than {self._max_bytes} bytes when unpacked; take fewer documents"
            raise _broken("decompressed_too_large", detail)


class Folder:
    """The files of a folder of one's own and of the folders in it, three names deep, as members of a zip."""

    def __init__(self, path: Path) -> None:
        found = (file for depth in ("*", "*/*", "*/*/*") for file in path.glob(depth) if file.is_file())
        self.names = tuple(sorted(file.relative_to(path).as_posix() for file in found))
        self._path = path

    def open(self, name: str) -> io.BufferedReader:
        """A stream of what that file holds."""
        return (self._path / name).open("rb")


class _Metered(io.RawIOBase):
    """A member's bytes, counted while they are unpacked."""

    def __init__(self, member: IO[bytes], *, name: str, archive: Archive) -> None:
        self._archive = archive
        self._member = member
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        space = memoryview(buffer)
        try:
            content = self._member.read(len(space))
        except _BROKEN as error:
            raise _corrupt_member(self._name, error) from None
        self._archive.count(len(content))
        space[: len(content)] = content
        return len(content)


def _corrupt_member(name: str, error: Exception) -> DatasetError:
    return _broken("corrupt_zip", f"{name} cannot be unpacked ({error}); write the zip anew")


def _broken(code: str, detail: str) -> DatasetError:
    return DatasetError([Issue(line=None, field=None, code=code, detail=detail)])
