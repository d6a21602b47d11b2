"""Candidates for the nearest vectors, without looking at all: a graph or lists of FAISS, with or without a selection.

Scores are those of what is stored here (a prefix, a quantised vector); who asks ranks the candidates exactly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from infonce.index_config import IndexConfig, IndexType, pq_parts

Vectors = NDArray[np.float32]

_faiss: Any = faiss  # its stubs lag behind what its wrappers take

_TRAINED_ON: Final = 64
"""Vectors a centre that k-means sees; FAISS would warn below 39 and ignore what is above 256."""
_SQ_TRAINED_ON: Final = 100_000
_SEED: Final = 1234


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The rows that a search may find."""

    allowed: NDArray[np.bool_]
    share: float
    """Of the rows that are allowed; above 0."""


class Approximate:
    """An index of FAISS that is not exact."""

    def __init__(self, index: Any, config: IndexConfig) -> None:
        self._index = index
        self.config = config

    @classmethod
    def build(cls, vectors: Vectors, config: IndexConfig) -> "Approximate":
        """All vectors are in it.

        Shape:
            vectors (n, D) float32, unit length.
        """
        stored = cut_short(vectors, config.prefix)
        index = _graph(stored, config) if config.type is IndexType.HNSW else _lists(stored, config)
        index.add(np.ascontiguousarray(stored))
        return cls(index, config)

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return int(self._index.ntotal)

    def candidates(self, queries: Vectors, count: int, *, selection: Selection | None) -> NDArray[np.int64]:
        """The rows that are likely the nearest, best first, filled up with −1.

        Shape:
            queries (n, D) float32; returns (n, count) int64.
        """
        asked = np.ascontiguousarray(cut_short(queries, self.config.prefix))
        _, rows = self._index.search(asked, count, params=self._parameters(count, selection))
        found: NDArray[np.int64] = rows
        return found

    def effort(self, count: int, selection: Selection | None) -> int:
        """About how many vectors a search compares a query with."""
        share = 1.0 if selection is None else selection.share
        if self.config.type is IndexType.HNSW:
            return int(max(self.config.effort, count) / share) * self.config.links
        lists = self._index.nlist
        return int(min(lists, self.config.probes / share) * self.count / lists)

    def _parameters(self, count: int, selection: Selection | None) -> Any:
        """A narrow selection makes a search look further: what is not allowed takes up its candidates too."""
        share, more = 1.0, {}
        if selection is not None:
            share = selection.share
            more["sel"] = _faiss.IDSelectorBitmap(np.packbits(selection.allowed, bitorder="little"))
        if self.config.type is IndexType.HNSW:
            return _faiss.SearchParametersHNSW(efSearch=int(max(self.config.effort, count) / share), **more)
        return _faiss.SearchParametersIVF(nprobe=min(self._index.nlist, int(self.config.probes / share)), **more)

    def write(self, path: Path) -> None:
        """The index stands in the file."""
        _faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path, config: IndexConfig) -> "Approximate":
        """The index of a file whose checksum is right, mapped into memory and not to be added to.

        Raises:
            RuntimeError: FAISS cannot read it.
        """
        return cls(_faiss.read_index(str(path), _faiss.IO_FLAG_MMAP_IFC), config)


def _graph(stored: Vectors, config: IndexConfig) -> Any:
    """A byte a dimension is enough to walk by, for the candidates are ranked exactly afterwards."""
    index = _faiss.IndexHNSWSQ(
        stored.shape[1], _faiss.ScalarQuantizer.QT_8bit, config.links, _faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction = config.build_effort
    index.train(_sample(stored, _SQ_TRAINED_ON))  # learns the range of each dimension
    return index


def _lists(stored: Vectors, config: IndexConfig) -> Any:
    """Centres are found among a seeded sample of the vectors."""
    count, dimension = stored.shape
    num_lists = max(1, min(int(4 * count**0.5), count // _TRAINED_ON))
    centres = _faiss.IndexFlatIP(dimension)
    if config.type is IndexType.IVF_SQ8:
        index = _faiss.IndexIVFScalarQuantizer(
            centres, dimension, num_lists, _faiss.ScalarQuantizer.QT_8bit, _faiss.METRIC_INNER_PRODUCT
        )
    else:
        parts = pq_parts(dimension)
        index = _faiss.IndexIVFPQ(centres, dimension, num_lists, parts, 8, _faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.min_points_per_centroid = 1  # a small index need not warn
    index.referenced_objects = [centres]
    index.cp.seed = _SEED
    index.train(_sample(stored, max(num_lists * _TRAINED_ON, 10_000)))
    return index


def _sample(stored: Vectors, count: int) -> Vectors:
    """So many of the vectors, drawn by a fixed seed, in their order."""
    drawn = np.random.default_rng(_SEED).permutation(len(stored))[:count]
    return np.ascontiguousarray(stored[np.sort(drawn)])


def cut_short(vectors: Vectors, length: int | None) -> Vectors:
    """The first dimensions alone, of unit length again; all of them for None; (n, length)."""
    if length is None:
        return vectors
    part = vectors[:, :length]
    norms = np.linalg.norm(part, axis=1, keepdims=True)
    cut: Vectors = part / np.maximum(norms, np.finfo(np.float32).tiny)
    return cut
