"""The true neighbours of queries, by a whole product and a sort, and the share of them that somebody found."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""One a row, of unit length."""
Found = Sequence[Sequence[int]]
"""For each query the places of the vectors that were found."""

_BLOCK_ROWS: Final = 1 << 16
_ROUNDING: Final = 1e-6
"""Both are inner products of float32, added up in different orders."""


class Neighbours:
    """The `k` nearest of each query, among the allowed vectors if not all are."""

    def __init__(self, vectors: Vectors, queries: Vectors, *, k: int, allowed: NDArray[np.bool_] | None = None) -> None:
        self._vectors, self._queries, self._allowed = vectors, queries, allowed
        places = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
        self._k = min(k, len(places))
        best = np.empty((len(queries), 0), dtype=np.int64)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        for start in range(0, len(places), _BLOCK_ROWS):
            some = places[start : start + _BLOCK_ROWS]
            block = queries @ vectors[some].T  # (q, rows)
            scores = np.concatenate([scores, block], axis=1)
            best = np.concatenate([best, np.broadcast_to(some, block.shape)], axis=1)
            kept = np.argpartition(-scores, min(self._k, scores.shape[1]) - 1, axis=1)[:, : self._k]
            scores, best = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(best, kept, axis=1)
        self._best, self._last = best, scores.min(axis=1)

    def recall(self, found: Found) -> float:
        """The mean share that was found; one that ties with the last of them to rounding is as good."""
        return float(np.mean([self._share(query, places) for query, places in enumerate(found)]))

    def _share(self, query: int, places: Sequence[int]) -> float:
        distinct = np.unique(np.asarray(places, dtype=np.int64))
        if self._allowed is not None:
            distinct = distinct[self._allowed[distinct]]
        near = np.isin(distinct, self._best[query])
        scores = self._vectors[distinct] @ self._queries[query]
        return min(1.0, np.count_nonzero(near | (scores >= self._last[query] - _ROUNDING)) / self._k)
