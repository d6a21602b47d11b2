"""How many first dimensions find what whole vectors find: measured on the vectors themselves.

A model that was trained for it (Kusupati et al. 2022, arXiv 2205.13147) says which prefixes of its vectors serve alone.
That a prefix is meant to serve does not say that it does, among these documents: so it has to show it.
"""

from collections.abc import Collection
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from infonce.approximate import cut_short
from infonce.index_config import IndexConfig

RECALL: Final = 0.99
"""Of the true nearest that are to be among the candidates; what the graph misses comes on top of it."""
_HITS: Final = 10
_ASKING: Final = 256
_SEED: Final = 1234
_ROWS: Final = 50_000
"""Whose prefixes are made at once."""


def shortest_prefix(vectors: NDArray[np.float32], prefixes: Collection[int], *, config: IndexConfig) -> int | None:
    """The shortest of the prefixes whose candidates hold the nearest neighbours of a sample; None where none does.

    A drawn sample of the vectors asks for its ten nearest others, and is compared with everything: 256 · n · D products
    for whole vectors and nearly as many for each prefix that is tried, a second or two for 100,000 vectors on two
    cores, where the graph takes a minute.

    Shape:
        vectors (n, D) float32, unit length.
    """
    fitting = sorted(prefix for prefix in prefixes if 0 < prefix < vectors.shape[1])
    if not fitting or len(vectors) <= _HITS:
        return None
    drawn = np.random.default_rng(_SEED).permutation(len(vectors))[:_ASKING]
    queries = vectors[drawn]
    true = _others(_nearest(vectors, queries, count=_HITS + 1), drawn)[:, :_HITS]
    wanted = config.candidates(_HITS)
    for prefix in fitting:
        found = _others(_nearest(vectors, queries, count=wanted + 1, prefix=prefix), drawn)[:, :wanted]
        shares = [len(np.intersect1d(one, other)) / len(one) for one, other in zip(true, found, strict=True)]
        if np.mean(shares) >= RECALL:
            return prefix
    return None


def _nearest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], *, count: int, prefix: int | None = None
) -> NDArray[np.int64]:
    """The rows of the nearest vectors, best first; (queries, count)."""
    asked = np.ascontiguousarray(cut_short(queries, prefix))
    best = faiss.ResultHeap(len(asked), min(count, len(vectors)), keep_max=True)
    for start in range(0, len(vectors), _ROWS):
        some = np.ascontiguousarray(cut_short(vectors[start : start + _ROWS], prefix))
        near = min(count, len(some))
        scores, rows = faiss.knn(asked, some, near, metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(scores, rows + start)
    best.finalize()
    found: NDArray[np.int64] = best.I
    return found


def _others(rows: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each line without the row that asked, or without its last one where that is not in it; (n, count − 1)."""
    is_own = rows == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    others: NDArray[np.int64] = rows[~is_own].reshape(len(rows), -1)
    return others
