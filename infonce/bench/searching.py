"""`infonce bench search`: queries a second of `VectorIndex` beside sentence-transformers' search and bare FAISS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Final

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from infonce.bench.report import OURS, THEIRS, Bars, Column, Numbers, Report, Row
from infonce.busy import Busy
from infonce.index import VectorIndex

Vectors = NDArray[np.float32]
Found = list[list[int]]
Search = Callable[[Vectors], Found]

K: Final = 10
BATCHES: Final = (1, 64)
_BLOCK_QUERIES: Final = 64
_OURS: Final = f"{OURS}, VectorIndex"
_COLUMNS: Final = (
    Column(heading="search", key="name"),
    *(Column(heading=f"queries/s, {size} at once", key=f"batch_{size}", form=",.1f") for size in BATCHES),
    Column(heading=f"recall@{K}", key="recall", form=".4f"),
    Column(heading="rounds", key="rounds", form="d"),
)
_BARS: Final = tuple(
    Bars(title=f"queries a second, {size} at once", key=f"batch_{size}", form=",.0f") for size in BATCHES
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """What is searched for in what; unit vectors."""

    vectors: Vectors
    queries: Vectors
    origin: str


def clustered(count: int, dimensions: int, *, seed: int) -> Vectors:
    """Unit vectors around √count centres: like embeddings they have near neighbours, unlike Gaussian noise."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((max(1, int(count**0.5)), dimensions), dtype=np.float32)
    vectors = draw.standard_normal((count, dimensions), dtype=np.float32)
    vectors += centres[draw.integers(0, len(centres), count)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def measure(searched: Searched, *, rounds: int, say: Busy) -> Iterator[Report]:
    """What is known after each round; all take turns in this process, after one batch that does not count."""
    say("Building")
    ways = _ways(searched.vectors)
    say("Finding the true neighbours")
    truth = _truth(searched)
    recall = {}
    for name, search in ways.items():
        say(f"Warming up, {name}")
        recall[name] = float(
            np.mean([_recall(own, near) for own, near in zip(_all(search, searched), truth, strict=True)])
        )
    speeds: dict[str, dict[int, list[float]]] = {name: {size: [] for size in BATCHES} for name in ways}
    for number in range(rounds):
        for name, search in list(ways.items())[:: -1 if number % 2 else 1]:
            say(f"Round {number + 1} of {rounds}, {name}")
            for size in BATCHES:
                queries = searched.queries[: size if size > 1 else 16]
                began = perf_counter()
                for start in range(0, len(queries), size):
                    search(queries[start : start + size])
                speeds[name][size].append(len(queries) / (perf_counter() - began))
        yield _report(searched, speeds, recall=recall)


def _ways(vectors: Vectors) -> dict[str, Search]:
    """Every search, each as whoever uses it would call it."""
    from sentence_transformers.util import dot_score, semantic_search

    index = VectorIndex.build(vectors, [str(place) for place in range(len(vectors))])
    bare = faiss.IndexFlatIP(vectors.shape[1])
    bare.add(vectors)
    corpus = torch.from_numpy(vectors)

    def peer(queries: Vectors, **searcheds: Any) -> Found:
        found = semantic_search(torch.from_numpy(queries), corpus, top_k=K, **searcheds)
        return [[int(hit["corpus_id"]) for hit in hits] for hits in found]

    return {
        _OURS: lambda queries: [[int(name) for name in hits.ids] for hits in index.search(queries, K)],
        f"{THEIRS}, semantic_search": peer,
        f"{THEIRS}, semantic_search, dot_score": lambda queries: peer(queries, score_function=dot_score),
        "faiss, IndexFlatIP": lambda queries: [list(map(int, row)) for row in bare.search(queries, K)[1]],
    }


def _all(search: Search, searched: Searched) -> Found:
    blocks = range(0, len(searched.queries), _BLOCK_QUERIES)
    return [found for start in blocks for found in search(searched.queries[start : start + _BLOCK_QUERIES])]


def _truth(searched: Searched) -> list[tuple[set[int], float, Vectors]]:
    """By a whole product and a sort: the neighbours of each query, the score of the last, and all scores."""
    found = []
    for query in searched.queries:
        scores = searched.vectors @ query
        best = np.argpartition(-scores, min(K, len(scores)) - 1)[:K]
        found.append((set(best.tolist()), float(scores[best].min()), scores))
    return found


def _recall(found: list[int], truth: tuple[set[int], float, Vectors]) -> float:
    """The share of the true neighbours; one that ties with the last of them to rounding is as good."""
    near, last, scores = truth
    return sum(place in near or bool(scores[place] >= last - 1e-6) for place in found) / len(near)


def _report(searched: Searched, speeds: dict[str, dict[int, list[float]]], *, recall: dict[str, float]) -> Report:
    rows: list[Row] = []
    for name, by_size in speeds.items():
        side = next((side for side in (OURS, THEIRS) if name.startswith(side)), "faiss")
        row: dict[str, Any] = {"kind": "search", "side": side, "name": name, "recall": recall[name]}
        for size, found in by_size.items():
            row |= {f"batch_{size}": median(found), f"batch_{size}_low": min(found), f"batch_{size}_high": max(found)}
        rows.append(row | {"rounds": len(by_size[BATCHES[0]])})
    return Report(
        name="search",
        tables=[Numbers(title="", columns=_COLUMNS, rows=rows)],
        bars=_BARS,
        setting={
            "vectors": len(searched.vectors),
            "dimensions": searched.vectors.shape[1],
            "origin": searched.origin,
            "queries": len(searched.queries),
            "k": K,
        },
        notes=[
            "Medians of rounds in one process, taken in turn. semantic_search normalises the corpus at every call "
            "unless it is given dot_score, which is right for unit vectors."
        ],
    )
