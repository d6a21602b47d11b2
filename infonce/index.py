"""Exact nearest neighbours over FAISS: built, searched, saved with a manifest, and refused where it does not match.

The metric is the inner product of unit vectors, higher is better. A folder holds `index.faiss`, `ids` (one JSON
string a line) and `manifest.json`; it can be copied alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from infonce.digest import sha256_of
from infonce.errors import IndexCorrupt, IndexMismatch

INDEX_FILE, IDS_FILE, MANIFEST_FILE = "index.faiss", "ids", "manifest.json"
_FORMAT = 1
QUERIES_AT_ONCE: Final = 1_024
"""A block that many queries are searched in, some ten seconds for a million documents on one core. FAISS multiplies
matrices only where queries · dimension is above 128,000 (its `distance_compute_blas_threshold`), 12 times as fast."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What one query found, best first; shorter than asked where the index holds less."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]


class VectorIndex:
    """Unit vectors with ids, searched exactly."""

    def __init__(self, index: Any, ids: Sequence[str], *, fingerprint: str | None) -> None:
        self._index = index
        self.ids = tuple(ids)
        self.fingerprint = fingerprint

    @classmethod
    def build(cls, vectors: NDArray[np.float32], ids: Sequence[str], *, fingerprint: str | None = None) -> Self:
        """An index over `vectors`, which were made by the encoder of that fingerprint (None: by the client).

        Shape:
            vectors (n, D) float32.
        Raises:
            IndexMismatch: the counts differ, an id comes twice, or a vector is not finite; FAISS accepts all three.
        """
        if len(vectors) != len(ids):
            raise IndexMismatch(f"there are {len(vectors)} vectors and {len(ids)} ids")
        if len(set(ids)) != len(ids):
            raise IndexMismatch("an id comes twice; every id must be unique")
        if not np.isfinite(vectors).all():
            raise IndexMismatch("a vector has a non-finite number; nothing could ever find it")
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index, ids, fingerprint=fingerprint)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self._index.d)

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return int(self._index.ntotal)

    def search(self, vectors: NDArray[np.float32], k: int) -> list[Hits]:
        """The `k` best of each query, or all there are.

        Shape:
            vectors (n, D) float32.
        Raises:
            IndexMismatch: another dimension, or a number that is not finite.
        """
        scores, rows = self._nearest(vectors, k)
        return [self._hits(row, score) for row, score in zip(rows, scores, strict=True)]

    def rows(self, vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The places in `ids` of the `k` best of each query, best first.

        Shape:
            vectors (n, D) float32; returns (n, min(k, count)).
        Raises:
            IndexMismatch: another dimension, or a number that is not finite.
        """
        return self._nearest(vectors, k)[1]

    def _nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            found = vectors.shape[-1] if vectors.ndim else 0
            raise IndexMismatch(f"the index has {self.dimension} dimensions, the query has {found}")
        if not np.isfinite(vectors).all():
            raise IndexMismatch("the query has a non-finite number")
        width = max(0, min(k, self.count))  # no padding: FAISS fills up what the index does not hold with −1
        if not width:
            return np.empty((len(vectors), 0), dtype=np.float32), np.empty((len(vectors), 0), dtype=np.int64)
        scores, rows = self._index.search(np.ascontiguousarray(vectors, dtype=np.float32), width)
        return scores, rows

    def _hits(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> Hits:
        return Hits(tuple(self.ids[row] for row in rows), tuple(float(score) for score in scores))

    def save(self, folder: Path) -> None:
        """Write the index, its ids and, last, the manifest that names their checksums."""
        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(folder / INDEX_FILE))
        with (folder / IDS_FILE).open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(name) + "\n" for name in self.ids)
        manifest = {
            "format": _FORMAT,
            "type": "flat",
            "metric": "inner_product",
            "dimension": self.dimension,
            "count": self.count,
            "fingerprint": self.fingerprint,
            "sha256": {name: sha256_of(folder / name) for name in (INDEX_FILE, IDS_FILE)},
        }
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index of a folder, after its files proved to be those that were written.

        FAISS itself accepts three quarters of all damaged files in silence, so checksums come first.

        Raises:
            IndexCorrupt: a file is missing, changed, or says something else than the manifest.
        """
        try:
            manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
            for name in (INDEX_FILE, IDS_FILE):
                if sha256_of(folder / name) != manifest["sha256"][name]:
                    raise IndexCorrupt(f"{folder.name}/{name} is not the file that was written; rebuild the index")
            ids = [json.loads(line) for line in (folder / IDS_FILE).read_bytes().splitlines()]
            index = faiss.read_index(str(folder / INDEX_FILE))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error  # without the path
            raise IndexCorrupt(f"{folder.name} cannot be read: {reason}; rebuild the index") from error
        if (index.d, index.ntotal, len(ids)) != (manifest["dimension"], manifest["count"], manifest["count"]):
            raise IndexCorrupt(f"{folder.name} does not hold what its manifest says; rebuild the index")
        return cls(index, ids, fingerprint=manifest["fingerprint"])
