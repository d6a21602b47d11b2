"""The folder of an index: `index.faiss` (the vectors), `ids` (one JSON string a line), `manifest.json`, and for an
approximate one `approximate.faiss`. It explains itself and can be copied alone; every file is proven before it is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import faiss

from infonce.approximate import Approximate
from infonce.digest import sha256_of
from infonce.errors import ConfigError, IndexCorrupt
from infonce.index_config import IndexConfig, IndexType

INDEX_FILE, IDS_FILE, MANIFEST_FILE, APPROXIMATE_FILE = "index.faiss", "ids", "manifest.json", "approximate.faiss"
_FORMATS: Final = (1, 2)
"""The second one may be approximate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundIndex:
    """What stands in a folder."""

    flat: Any
    """FAISS's index of the vectors, mapped from its file."""
    ids: Sequence[str]
    approximate: Approximate | None
    fingerprint: str | None


def write_index(folder: Path, index: FoundIndex) -> None:
    """The files stand in the folder, the manifest with their checksums last."""
    folder.mkdir(parents=True, exist_ok=True)
    flat, approximate = index.flat, index.approximate
    faiss.write_index(flat, str(folder / INDEX_FILE))
    with (folder / IDS_FILE).open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(name) + "\n" for name in index.ids)
    names = [INDEX_FILE, IDS_FILE]
    if approximate is not None:
        approximate.write(folder / APPROXIMATE_FILE)
        names.append(APPROXIMATE_FILE)
    manifest = {
        "format": _FORMATS[-1],
        "metric": "inner_product",
        "dimension": flat.d,
        "count": flat.ntotal,
        "fingerprint": index.fingerprint,
        "config": asdict(IndexConfig(type=IndexType.FLAT) if approximate is None else approximate.config),
        "sha256": {name: sha256_of(folder / name) for name in names},
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_index(folder: Path, *, is_proven: bool = False) -> FoundIndex:
    """What the folder holds, after its files proved to be those that were written, unless the caller has proven that.

    FAISS itself accepts three quarters of all damaged files in silence, so checksums come first.

    Raises:
        IndexCorrupt: a file is missing, changed, or says something else than the manifest.
    """
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        if manifest["format"] not in _FORMATS:
            raise IndexCorrupt(f"{folder.name} has format {manifest['format']}, which a newer version wrote")
        for name, digest in manifest["sha256"].items():
            if not is_proven and sha256_of(folder / name) != digest:
                raise IndexCorrupt(f"{folder.name}/{name} is not the file that was written; rebuild the index")
        found = _read(folder, manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ConfigError) as error:
        reason = getattr(error, "strerror", None) or error  # without the path
        raise IndexCorrupt(f"{folder.name} cannot be read: {reason}; rebuild the index") from error
    counts = {
        found.flat.ntotal,
        len(found.ids),
        found.flat.ntotal if found.approximate is None else found.approximate.count,
    }
    if counts != {manifest["count"]} or found.flat.d != manifest["dimension"]:
        raise IndexCorrupt(f"{folder.name} does not hold what its manifest says; rebuild the index")
    return found


def _read(folder: Path, manifest: Mapping[str, Any]) -> FoundIndex:
    names = {INDEX_FILE, IDS_FILE}
    told = manifest["config"] if manifest["format"] > 1 else {"type": IndexType.FLAT}
    config = IndexConfig(**{**told, "type": IndexType(told["type"])})
    if config.type is not IndexType.FLAT:
        names.add(APPROXIMATE_FILE)
    if set(manifest["sha256"]) != names:
        raise IndexCorrupt(f"{folder.name} lacks a file that its manifest should name; rebuild the index")
    return FoundIndex(
        flat=faiss.read_index(str(folder / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC),
        ids=json.loads("[" + ",".join((folder / IDS_FILE).read_text(encoding="utf-8").split("\n")[:-1]) + "]"),
        approximate=None if config.type is IndexType.FLAT else Approximate.read(folder / APPROXIMATE_FILE, config),
        fingerprint=manifest["fingerprint"],
    )
