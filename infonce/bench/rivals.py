"""Ways to search the same vectors: `VectorIndex`, sentence-transformers' search, bare FAISS and hnswlib.

The graphs of all three have the links and the efforts of `IndexConfig`, so that what differs is what is done with them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any, Final

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from infonce.bench.neighbours import Found, Vectors
from infonce.bench.report import OURS, THEIRS
from infonce.busy import Busy
from infonce.index import VectorIndex
from infonce.index_config import IndexConfig

Mask = NDArray[np.bool_]
K: Final = 10
GRAPH: Final = IndexConfig()
_FAISS: Any = faiss  # its stubs lag behind what its wrappers take
HNSWLIB: Final = "hnswlib"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to search, as whoever uses it would call it."""

    name: str
    side: str
    build_seconds: float
    search: Callable[[Vectors], Found]
    """Places of the `K` nearest vectors of each query."""
    filtered: Callable[[Vectors, Mask], Found] | None = None
    """The same among those that are allowed, where it can be asked for that."""


def is_hnswlib_there() -> bool:
    """Whether hnswlib is installed; it has no wheels and must be compiled, which takes a C++ compiler."""
    return find_spec(HNSWLIB) is not None


NO_HNSWLIB: Final = "hnswlib is not installed; pip install hnswlib compiles it, with g++ and Python's headers."


def ways(vectors: Vectors, *, say: Busy) -> Iterator[Way]:
    """Every way to search them, built one after the other."""
    makers = [_ours, _peer, _peer_dot, _flat, _graph]
    if is_hnswlib_there():
        makers.append(_hnswlib)
    for make in makers:
        say(f"Building {make.__name__.strip('_')}")
        yield make(vectors)


def _ours(vectors: Vectors) -> Way:
    began = perf_counter()
    index = VectorIndex.build(vectors, [str(place) for place in range(len(vectors))], config=GRAPH)
    seconds = perf_counter() - began

    def search(queries: Vectors, allowed: Mask | None = None) -> Found:
        return [[int(name) for name in hits.ids] for hits in index.search(queries, K, allowed=allowed)]

    name = f"{OURS}, VectorIndex, {index.type}"
    return Way(name=name, side=OURS, build_seconds=seconds, search=search, filtered=search)


def _peer(vectors: Vectors) -> Way:
    return _their_search(vectors, "semantic_search")


def _peer_dot(vectors: Vectors) -> Way:
    from sentence_transformers.util import dot_score

    return _their_search(vectors, "semantic_search, dot_score", score_function=dot_score)


def _their_search(vectors: Vectors, name: str, **options: Any) -> Way:
    from sentence_transformers.util import semantic_search

    corpus = torch.from_numpy(vectors)

    def search(queries: Vectors) -> Found:
        found = semantic_search(torch.from_numpy(queries), corpus, top_k=K, **options)
        return [[int(hit["corpus_id"]) for hit in hits] for hits in found]

    return Way(name=f"{THEIRS}, {name}", side=THEIRS, build_seconds=0.0, search=search)


def _flat(vectors: Vectors) -> Way:
    return _of_faiss(vectors, _FAISS.IndexFlatIP(vectors.shape[1]), parameters=_FAISS.SearchParameters)


def _graph(vectors: Vectors) -> Way:
    index = _FAISS.IndexHNSWFlat(vectors.shape[1], GRAPH.links, _FAISS.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = GRAPH.build_effort, GRAPH.effort
    return _of_faiss(vectors, index, parameters=partial(_FAISS.SearchParametersHNSW, efSearch=GRAPH.effort))


def _of_faiss(vectors: Vectors, index: Any, *, parameters: Callable[..., Any]) -> Way:
    """An index of FAISS that holds nothing yet; `parameters` makes what tells a search which vectors are allowed."""
    began = perf_counter()
    index.add(vectors)
    seconds = perf_counter() - began

    def search(queries: Vectors) -> Found:
        return _places(index.search(queries, K))

    def filtered(queries: Vectors, allowed: Mask) -> Found:
        return _places(index.search(queries, K, params=parameters(sel=_selector(allowed))))

    name = f"faiss, {type(index).__name__}"
    return Way(name=name, side="faiss", build_seconds=seconds, search=search, filtered=filtered)


def hnswlib_index(vectors: Vectors, *, threads: int) -> Any:
    """The graph of hnswlib over the vectors, with the links and efforts of ours; it must be there."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=GRAPH.links, ef_construction=GRAPH.build_effort)
    index.set_num_threads(threads)
    index.add_items(vectors)
    index.set_ef(GRAPH.effort)
    return index


def _hnswlib(vectors: Vectors) -> Way:
    began = perf_counter()
    index = hnswlib_index(vectors, threads=faiss.omp_get_max_threads())
    seconds = perf_counter() - began

    def search(queries: Vectors) -> Found:
        return [list(map(int, row)) for row in index.knn_query(queries, k=K)[0]]

    def filtered(queries: Vectors, allowed: Mask) -> Found:
        """It asks Python about every vector that it comes to, and raises where it finds fewer than `K`."""
        is_allowed = allowed.tobytes().__getitem__
        try:
            found, _ = index.knn_query(queries, k=K, num_threads=1, filter=is_allowed)
        except RuntimeError:
            return [[] for _ in queries]
        return [list(map(int, row)) for row in found]

    return Way(name=HNSWLIB, side=HNSWLIB, build_seconds=seconds, search=search, filtered=filtered)


def _selector(allowed: Mask) -> Any:
    return _FAISS.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def _places(found: tuple[Vectors, NDArray[np.int64]]) -> Found:
    """Without the −1 with which FAISS fills up."""
    return [[int(place) for place in row if place >= 0] for row in found[1]]
