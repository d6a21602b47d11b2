"""A model's folder as one file: packed so that equal folders give equal bytes, unpacked as if a stranger had sent it.

What may be in it is listed by name; every other member is refused, whatever it is, before a byte of it is written.
"""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from infonce.bounded_file import BoundedFile
from infonce.errors import ForbiddenFile, InvalidModel
from infonce.layout import TOKENIZER_FILES, WEIGHTS
from infonce.plain_tar import pack_files

CONFIG: Final = "config.json"
MODEL_FILES: Final = (
    CONFIG,
    WEIGHTS,
    *TOKENIZER_FILES,
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "README.md",
    "report.json",
    "report.html",
)
"""What a model's folder holds: all that this library reads, and what a training writes beside it."""
MAX_SIDE_BYTES: Final = 64 << 20
"""Of every file but the weights; the tokenizer of a large vocabulary takes 35 MB."""

_MAX_MEMBERS: Final = 2 * len(MODEL_FILES)  # with the folders around them
_CHUNK_BYTES: Final = 64 << 10  # and as much of a name: tarfile reads one of any length at once
# What tarfile raises on broken archives, found by changing bytes of good ones at random.
_BROKEN: Final = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)


def check_packable(folder: Path) -> None:
    """Raise `InvalidModel` unless the weights of the folder's model are in one safetensors file."""
    if not (folder / WEIGHTS).is_file():
        raise InvalidModel(f"the model has no {WEIGHTS}; only models whose weights are in that one file are exported")


def pack_model(folder: Path, target: Path, *, stop: Callable[[], bool]) -> None:
    """The target is a tar of what of the folder belongs to a model; its bytes follow from those of the files alone.

    Raises:
        InvalidModel: the weights are not in one safetensors file.
        Stopped: `stop()` was true at a chunk's edge.
    """
    check_packable(folder)
    pack_files(folder, target, names=sorted(name for name in MODEL_FILES if (folder / name).is_file()), stop=stop)


def unpack_model(path: Path, folder: Path) -> None:
    """The folder, which is not there yet, holds what was in the tar: files that belong to a model, and nothing else.

    Raises:
        ForbiddenFile: there is something else in it.
        InvalidModel: it is no tar that can be read.
    """
    folder.mkdir()
    with BoundedFile(path.open("rb", buffering=0), max_read_bytes=_CHUNK_BYTES, broken=tarfile.ReadError) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for name, member in _members(tar):
                    _write(tar, member, target=folder / name)
        except _BROKEN as error:
            raise InvalidModel(f"the file is no tar that can be read ({error}); pack it with `tar cf`") from None


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Each file by its name in the model's folder; the folder itself may be in the tar, and have any name."""
    seen: set[str] = set()
    root: str | None = None
    for number, member in enumerate(tar):
        if number >= _MAX_MEMBERS:
            raise ForbiddenFile(f"the tar has more than {_MAX_MEMBERS} members; a model has {len(MODEL_FILES)} files")
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if member.name.startswith("/") or ".." in parts:
            raise ForbiddenFile(f"{member.name[:100]!r} leads out of the model's folder; pack relative paths")
        if member.isdir():
            continue
        root = root or _root(parts)
        name = "/".join(parts).removeprefix(root)
        _check(member, name)
        if name in seen:
            raise ForbiddenFile(f"{name} is in the tar twice; keep one")
        seen.add(name)
        yield name, member


def _root(parts: list[str]) -> str:
    """What stands before every name: the folder's own, where the first file lies in it."""
    return "" if "/".join(parts) in MODEL_FILES else "/".join(parts[:1]) + "/"


def _check(member: tarfile.TarInfo, name: str) -> None:
    """Raise `ForbiddenFile` unless a file of that name belongs to a model."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ForbiddenFile(f"{name[:100]!r} is a link, a device or a file with holes; only plain files are taken")
    if name not in MODEL_FILES:
        known = ", ".join(MODEL_FILES)
        raise ForbiddenFile(f"{name[:100]!r} does not belong to a model; leave it out, allowed are {known}")
    if name != WEIGHTS and member.size > MAX_SIDE_BYTES:
        raise ForbiddenFile(f"{name} has {member.size} bytes; the limit is {MAX_SIDE_BYTES} for all but the weights")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, *, target: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None, "a plain file has content"
    target.parent.mkdir(exist_ok=True)
    num_bytes = 0
    with target.open("xb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            num_bytes += file.write(chunk)
    if num_bytes != member.size:
        raise tarfile.ReadError(f"it ends within {target.name}")
