"""What a sealed folder says of its own files, and what the files on disk come to."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from service.store.errors import ArtifactCorrupt

CHECKSUMS: Final = "checksums.json"
"""Size and SHA-256 of every other file of a sealed folder; written last, so a folder without it is unfinished."""

_PIECE_BYTES: Final = 1 << 18


def listed_checksums(folder: Path, corrupt: Callable[..., ArtifactCorrupt]) -> dict[str, dict[str, Any]]:
    """File name → bytes and sha256, with no name that leads out of the folder."""
    try:
        files = json.loads((folder / CHECKSUMS).read_bytes())["files"]
        sound = all(
            {"bytes", "sha256"} <= set(entry) and not Path(name).is_absolute() and ".." not in Path(name).parts
            for name, entry in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt(file=CHECKSUMS, reason="cannot be read") from error
    if not sound:
        raise corrupt(file=CHECKSUMS, reason="is not a list of this folder's files")
    return dict(files)


def sha256_of(path: Path, *, read: Callable[[int], object] = lambda num_bytes: None) -> str:
    """The SHA-256 of the file, in hexadecimal; read in pieces, of each of which `read` is told the size."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while num_bytes := file.readinto(piece):
            digest.update(piece[:num_bytes])
            read(num_bytes)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """The file's bytes, or the folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
