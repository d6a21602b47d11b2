"""Files of sealed folders, read whole or by lines; what is returned is what was written."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.store.checksums import listed_checksums
from service.store.errors import MODEL_REMEDY, ArtifactCorrupt

_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """A window of a file's lines."""

    found: list[bytes]
    total: int
    """Of the whole file."""


def read_sealed(folder: Path, name: str, *, remedy: str = MODEL_REMEDY) -> bytes:
    """The file of a sealed folder.

    Raises:
        ArtifactCorrupt: it is not what was written.
    """
    return b"".join(_pieces(folder, name, remedy=remedy, by_lines=False))


def sealed_lines(folder: Path, name: str, *, start: int, count: int, remedy: str = MODEL_REMEDY) -> Lines:
    """So many lines of the file from that number on; no others are in memory, however long the file is.

    Raises:
        ArtifactCorrupt: the file is not what was written.
    """
    found, total = list[bytes](), 0
    for line in _pieces(folder, name, remedy=remedy, by_lines=True):
        if start <= total < start + count:
            found.append(line)
        total += 1
    return Lines(found=found, total=total)


def _pieces(folder: Path, name: str, *, remedy: str, by_lines: bool) -> Iterator[bytes]:
    """The whole file, one line or one piece at a time.

    Raises:
        ArtifactCorrupt: at the end, where it is not what was written.
    """

    def corrupt(*, reason: str, file: str = name) -> ArtifactCorrupt:
        return ArtifactCorrupt(folder.name, file=file, reason=reason, remedy=remedy)

    entry = listed_checksums(folder, corrupt).get(name)
    digest, size = hashlib.sha256(), 0
    try:
        with (folder / name).open("rb") as file:
            for piece in file if by_lines else iter(lambda: file.read(_PIECE_BYTES), b""):
                digest.update(piece)
                size += len(piece)
                yield piece
    except OSError as error:
        raise corrupt(reason=f"cannot be read ({error.strerror})") from error
    if entry is None or (entry["bytes"], entry["sha256"]) != (size, digest.hexdigest()):
        raise corrupt(reason="is not the file that was written")
