"""Nearest neighbours over FAISS: built, searched, saved with a manifest, and refused where it does not match.

The metric is the inner product of unit vectors, higher is better. The vectors themselves are always kept: they are
what an exact search compares and what ranks the candidates of an approximate one, so that every score is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from infonce.approximate import Approximate, Selection
from infonce.errors import IndexMismatch
from infonce.index_config import IndexConfig, IndexType
from infonce.index_files import FoundIndex, read_index, write_index

QUERIES_AT_ONCE: Final = 1_024
"""A block that many queries are searched in, some ten seconds for a million documents on one core. FAISS multiplies
matrices only where queries · dimension is above 128,000 (its `distance_compute_blas_threshold`), 12 times as fast."""

_COPIED_ROWS: Final = 50_000
"""Allowed rows whose vectors are copied at once to be compared: 77 MB at 384 dimensions."""

_COPIED_NUMBERS: Final = 16 << 20
"""Of the vectors of candidates that are ranked at once, 64 MB: those of 256 queries for 1,000 hits would be 3 GB."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What one query found, best first; shorter than asked where the index holds less."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    is_exact: bool = field(default=True, compare=False)
    """Whether everything allowed was compared, so that nothing can be missing."""


_Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and their scores, best first; (n, m) each."""

_Told = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]
"""The same, and for which queries everything allowed was compared; (n,)."""


class VectorIndex:
    """Unit vectors with ids; what it finds is never padded, and a filter never costs results."""

    def __init__(self, parts: FoundIndex) -> None:
        self.ids = parts.ids
        self.fingerprint = parts.fingerprint
        self._parts = parts
        self._flat = parts.flat
        self._approximate = parts.approximate
        self.vectors = _vectors_in(parts.flat)
        """(n, D), read only, in the order of `ids`; of a loaded index they are mapped from its file."""

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        *,
        fingerprint: str | None = None,
        config: IndexConfig = IndexConfig(type=IndexType.FLAT),  # noqa: B008 (frozen)
    ) -> Self:
        """An index over `vectors`, which were made by the encoder of that fingerprint (None: by the client).

        Shape:
            vectors (n, D) float32.
        Raises:
            IndexMismatch: the counts differ, an id comes twice, or a vector is not finite; FAISS accepts all three.
            ConfigError: the config does not fit the vectors.
        """
        if len(vectors) != len(ids):
            raise IndexMismatch(f"there are {len(vectors)} vectors and {len(ids)} ids")
        if len(set(ids)) != len(ids):
            raise IndexMismatch("an id comes twice; every id must be unique")
        if not np.isfinite(vectors).all():
            raise IndexMismatch("a vector has a non-finite number; nothing could ever find it")
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors, dtype=np.float32))
        config = config.resolve(len(vectors), dimension=vectors.shape[1])
        is_exact = config.type is IndexType.FLAT or not len(vectors)
        approximate = None if is_exact else Approximate.build(vectors, config)
        return cls(FoundIndex(flat=flat, ids=tuple(ids), approximate=approximate, fingerprint=fingerprint))

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self._flat.d)

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return int(self._flat.ntotal)

    @property
    def type(self) -> IndexType:
        """How it finds."""
        return IndexType.FLAT if self._approximate is None else self._approximate.config.type

    @property
    def is_exact(self) -> bool:
        """Whether it compares with everything, and so misses nothing."""
        return self._approximate is None

    def search(
        self, vectors: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None, exact: bool = False
    ) -> list[Hits]:
        """The `k` best of each query, or all there are, among the allowed rows; scores are exact.

        Shape:
            vectors (n, D) float32; allowed (count,) bool.
        Raises:
            IndexMismatch: another dimension, or a number that is not finite.
        """
        rows, scores, is_exact = self._nearest(vectors, k, allowed=allowed, exact=exact)
        return [
            Hits(tuple(self.ids[place] for place in row[row >= 0]), tuple(map(float, score)), bool(sure))
            for row, score, sure in zip(rows, scores, is_exact, strict=True)
        ]

    def rows(self, vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The places in `ids` of the `k` best of each query, best first.

        Shape:
            vectors (n, D) float32; returns (n, min(k, count)).
        Raises:
            IndexMismatch: another dimension, or a number that is not finite.
        """
        return self.nearest(vectors, k)[0]

    def nearest(
        self, vectors: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None, exact: bool = False
    ) -> _Found:
        """The places in `ids` of the `k` best of each query among the allowed ones, best first, and their scores.

        Shape:
            vectors (n, D) float32; allowed (count,) bool; returns (n, m) twice, m the lesser of k and what is allowed.
        Raises:
            IndexMismatch: another dimension, or a number that is not finite.
        """
        rows, scores, _ = self._nearest(vectors, k, allowed=allowed, exact=exact)
        return rows, scores

    def _nearest(
        self, vectors: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None, exact: bool
    ) -> _Told:
        self._check(vectors)
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        room = self.count if allowed is None else int(np.count_nonzero(allowed))
        width = max(0, min(k, room))  # no padding: FAISS fills up what the index does not hold with −1
        if not width or not len(queries):
            nothing = np.empty((len(queries), 0))
            return nothing.astype(np.int64), nothing.astype(np.float32), np.ones(len(queries), dtype=np.bool_)
        selection = None if allowed is None else Selection(allowed=allowed, share=room / self.count)
        if not exact and self._approximate is not None and not self._is_narrow(width, room, selection=selection):
            return self._ranked(queries, width, selection=selection, approximate=self._approximate)
        return *self._exact(queries, width, allowed=allowed), np.ones(len(queries), dtype=np.bool_)

    def _check(self, vectors: NDArray[np.float32]) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            found = vectors.shape[-1] if vectors.ndim else 0
            raise IndexMismatch(f"the index has {self.dimension} dimensions, the query has {found}")
        if not np.isfinite(vectors).all():
            raise IndexMismatch("the query has a non-finite number")

    def _is_narrow(self, width: int, room: int, *, selection: Selection | None) -> bool:
        """Whether comparing all that is allowed costs no more than looking for the best of it."""
        assert self._approximate is not None, "an exact index has nothing to choose"
        config = self._approximate.config
        refined = config.candidates(width)
        effort = 0 if selection is None else self._approximate.effort(refined, selection)
        return room <= max(config.exact_up_to, refined, effort)

    def _exact(self, queries: NDArray[np.float32], width: int, *, allowed: NDArray[np.bool_] | None) -> _Found:
        """By comparing each query with all that is allowed."""
        if allowed is None:
            scores, rows = self._flat.search(queries, width)
            return rows, scores
        places = np.flatnonzero(allowed)
        best_rows, best_scores = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        for start in range(0, len(places), _COPIED_ROWS):
            some = places[start : start + _COPIED_ROWS]
            count = min(width, len(some))
            scores, rows = faiss.knn(queries, self.vectors[some], count, metric=faiss.METRIC_INNER_PRODUCT)
            best_rows = np.concatenate([best_rows, some[rows]], axis=1)
            best_scores = np.concatenate([best_scores, scores], axis=1)
            best_rows, best_scores = _best(best_rows, best_scores, width=width)
        return best_rows, best_scores

    def _ranked(
        self, queries: NDArray[np.float32], width: int, *, selection: Selection | None, approximate: Approximate
    ) -> _Told:
        """Candidates of the approximate index, ranked by exact scores; queries that found too few look exactly."""
        found = approximate.candidates(
            queries, min(approximate.config.candidates(width), self.count), selection=selection
        )
        scores = np.empty(found.shape, dtype=np.float32)
        at_once = max(1, _COPIED_NUMBERS // (found.shape[1] * self.dimension))
        for start in range(0, len(queries), at_once):
            some = slice(start, start + at_once)
            scores[some] = np.einsum("nd,ncd->nc", queries[some], self.vectors[np.maximum(found[some], 0)])
        scores[found < 0] = -np.inf
        rows, scores = _best(found, scores, width=width)
        short: NDArray[np.bool_] = np.asarray((rows < 0).any(axis=1))
        if short.any():
            allowed = None if selection is None else selection.allowed
            rows[short], scores[short] = self._exact(queries[short], width, allowed=allowed)
        return rows, scores, short

    def save(self, folder: Path) -> None:
        """The index, its ids and, last, the manifest that names their checksums stand in the folder."""
        write_index(folder, self._parts)

    @classmethod
    def load(cls, folder: Path, *, is_proven: bool = False) -> Self:
        """The index of a folder, after its files proved to be those that were written; vectors stay on disk, mapped.

        `is_proven`: the caller has just compared them with their checksums, the manifest too.

        Raises:
            IndexCorrupt: a file is missing, changed, or says something else than the manifest.
        """
        return cls(read_index(folder, is_proven=is_proven))


class _Held:
    """Numbers in the memory of a FAISS index, which lives as long as an array over them."""

    def __init__(self, flat: Any) -> None:
        self._flat = flat
        address = int(flat.get_xb())
        shape = (int(flat.ntotal), int(flat.d))
        self.__array_interface__ = {"version": 3, "typestr": "<f4", "shape": shape, "data": (address, True)}


def _vectors_in(flat: Any) -> NDArray[np.float32]:
    """The vectors of a flat index, not copied; (n, D)."""
    return np.asarray(_Held(flat)) if flat.ntotal else np.empty((0, flat.d), dtype=np.float32)


def _best(rows: NDArray[np.int64], scores: NDArray[np.float32], *, width: int) -> _Found:
    """The `width` best of each line, best first; equal scores keep their order."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
