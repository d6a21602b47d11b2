"""What a collection takes to answer over HTTP, beside FAISS and hnswlib in this process, and what it finds."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import faiss
import numpy as np
import torch

from infonce.bench.callers import call
from infonce.bench.filtering import SHARES
from infonce.bench.neighbours import Found, Neighbours, Vectors
from infonce.bench.report import OURS, Column, Row
from infonce.bench.rivals import GRAPH, HNSWLIB, K, hnswlib_index, is_hnswlib_there
from infonce.bench.stored import PARTS, Collection, Documents, encoded
from infonce.errors import InfonceError
from infonce.index import VectorIndex
from infonce.index_config import IndexType
from infonce.index_files import APPROXIMATE_FILE, INDEX_FILE, MANIFEST_FILE

QUERY_COLUMNS: Final = (
    Column(heading="asked", key="name"),
    Column(heading="a call, p50 ms", key="p50_ms", form=",.2f"),
    Column(heading="p99 ms", key="p99_ms", form=",.2f"),
    Column(heading="over FAISS, ms", key="over_ms", form=",.2f"),
    Column(heading="over hnswlib, ms", key="over_hnswlib_ms", form=",.2f"),
    Column(heading="queries/s", key="per_second", form=",.0f"),
    Column(heading=f"recall@{K}", key="recall", form=".4f"),
    Column(heading="rounds", key="rounds", form="d"),
)
_BATCH: Final = 64
_OVER: Final = {"faiss, in this process": "over_ms", f"{HNSWLIB}, in this process": "over_hnswlib_ms"}
_FAISS: Any = faiss  # its stubs lag behind what its wrappers take


@dataclass(frozen=True, kw_only=True, slots=True)
class _Turn:
    """The seconds of each call and of all, and what the queries found."""

    calls: Sequence[float]
    seconds: float
    found: Found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """One way to ask all queries, and what it took, a value a round."""

    name: str
    ask: Callable[[], _Turn]
    truth: Neighbours | None = None
    """None where nobody knows what should be found."""
    side: str = OURS
    is_compared: bool = False
    """Whether a call is one query by its vector, as FAISS is asked."""
    recalls: list[float] = field(default_factory=list)
    rounds: list[dict[str, float]] = field(default_factory=list)

    def turn(self) -> None:
        """It was asked once more."""
        turn = self.ask()
        if self.truth is not None:
            self.recalls.append(self.truth.recall(turn.found))
        self.rounds.append(
            {
                "p50_ms": 1_000 * median(turn.calls),
                "p99_ms": 1_000 * float(np.percentile(turn.calls, 99)),
                "per_second": len(turn.found) / turn.seconds,
            }
        )

    @property
    def p50_ms(self) -> float:
        """Of a call, the median of the rounds."""
        return median(one["p50_ms"] for one in self.rounds)

    def row(self, beside: Mapping[str, float]) -> Row:
        """Medians of its rounds, and how far its p50 is above each of these."""
        row: dict[str, Any] = {"kind": "query", "side": self.side, "name": self.name, "rounds": len(self.rounds)}
        row |= {key: median(one[key] for one in self.rounds) for key in self.rounds[0]}
        if self.is_compared:
            row |= {key: row["p50_ms"] - p50_ms for key, p50_ms in beside.items()}
        return row | ({"recall": median(self.recalls)} if self.recalls else {})


class Answers:
    """What was asked in every way, in this process and over HTTP."""

    def __init__(self, collection: Collection, documents: Documents, *, queries: Vectors, texts: Sequence[str]) -> None:
        """Queries by text are asked if there are any: the collection has a model then."""
        self._collection, self._documents, self._queries = collection, documents, queries
        self._truth = Neighbours(documents.vectors, queries, k=K)
        bodies: list[dict[str, Any]] = [{"vector": encoded(query)} for query in queries]
        batches = [{"queries": bodies[at : at + _BATCH]} for at in range(0, len(queries), _BATCH)]
        self._here: list[_Way] = []
        self._plain = self._way("vector", bodies, truth=self._truth, is_compared=True)
        self._ways = [
            self._plain,
            self._way("vector as a list", [{"vector": query.tolist()} for query in queries], is_compared=True),
            self._way("vector, ids alone", [{**body, "include": []} for body in bodies], is_compared=True),
            self._way(f"{_BATCH} vectors a call", batches, truth=self._truth),
            *(self._filtered(share, bodies) for share in SHARES),
        ]
        if texts:
            self._ways.append(self._way("text", [{"query": text} for text in texts]))
        self._later: list[_Way] = []

    def beside(self, home: Path) -> None:
        """The index that answers, somewhere below the service's home, is asked in this process as well, and hnswlib."""
        folder = _index_folder(home, len(self._documents.vectors))
        index = VectorIndex.load(folder)
        here: dict[str, Callable[[Vectors], Sequence[int]]] = {
            "faiss": _bare(folder, index.type),
            f"VectorIndex, {index.type}": partial(_found_by, index),
        }
        if is_hnswlib_there():
            here[HNSWLIB] = _hnswlib(self._documents.vectors)
        self._here = [
            _Way(
                name=f"{name}, in this process",
                side=name if name in ("faiss", HNSWLIB) else OURS,
                ask=partial(_one_by_one, search, self._queries),
                truth=self._truth,
            )
            for name, search in here.items()
        ]

    def round(self, *, backwards: bool) -> None:
        """Each way asked everything once more, one call after the other on one connection."""
        ways = [*self._here, *self._ways]
        for way in ways[:: -1 if backwards else 1]:
            way.turn()

    def round_of_newer(self, share: float) -> None:
        """Vectors asked once more, while that share of the documents stands beside the index."""
        if not self._later:
            self._later = [
                replace(self._plain, name=f"vector, {share:.0%} newer than the index", recalls=[], rounds=[])
            ]
        self._later[0].turn()

    def rows(self) -> list[Row]:
        """A row a way."""
        if not self._here or not self._here[0].rounds:
            return []
        beside = {_OVER[way.name]: way.p50_ms for way in self._here if way.name in _OVER}
        return [way.row(beside) for way in (*self._here, *self._ways, *self._later)]

    def _way(
        self,
        name: str,
        bodies: Sequence[Mapping[str, Any]],
        *,
        truth: Neighbours | None = None,
        is_compared: bool = False,
    ) -> _Way:
        url = f"{self._collection.url}/query"
        return _Way(name=name, ask=partial(_over_http, url, bodies), truth=truth, is_compared=is_compared)

    def _filtered(self, share: float, bodies: Sequence[Mapping[str, Any]]) -> _Way:
        below = round(share * PARTS)
        truth = Neighbours(self._documents.vectors, self._queries, k=K, allowed=self._documents.parts < below)
        asked = {"type": "lt", "key": "part", "value": below}
        return self._way(
            f"vector, a filter leaves {share:.1%}", [{**body, "filter": asked} for body in bodies], truth=truth
        )


def _over_http(url: str, bodies: Sequence[Mapping[str, Any]]) -> _Turn:
    load = call(url, [dict(body) for body in bodies], callers=1)
    answers = [json.loads(answer.body) for answer in load.answers]
    results = [result for answer in answers for result in answer.get("results", [answer])]
    found = [[int(hit["id"].removeprefix("d")) for hit in result["hits"]] for result in results]
    return _Turn(calls=[answer.seconds for answer in load.answers], seconds=load.seconds, found=found)


def _one_by_one(search: Callable[[Vectors], Sequence[int]], queries: Vectors) -> _Turn:
    calls, found = [], []
    for query in queries:
        began = perf_counter()
        hits = search(query[None])
        calls.append(perf_counter() - began)
        found.append(hits)
    return _Turn(calls=calls, seconds=sum(calls), found=found)


def _found_by(index: VectorIndex, query: Vectors) -> list[int]:
    return [int(id.removeprefix("d")) for id in index.search(query, K)[0].ids]


def _bare(folder: Path, type: IndexType) -> Callable[[Vectors], list[int]]:
    """FAISS over the same file in one thread, as the gateway has it, with the efforts of ours but nothing ranked."""
    name = INDEX_FILE if type is IndexType.FLAT else APPROXIMATE_FILE
    index = _FAISS.read_index(str(folder / name), _FAISS.IO_FLAG_MMAP_IFC)
    parameters = {
        IndexType.FLAT: None,
        IndexType.HNSW: _FAISS.SearchParametersHNSW(efSearch=GRAPH.effort),
    }.get(type, _FAISS.SearchParametersIVF(nprobe=GRAPH.probes))

    def search(query: Vectors) -> list[int]:
        found: list[int] = index.search(query, K, params=parameters)[1][0].tolist()
        return [place for place in found if place >= 0]

    return search


def _hnswlib(vectors: Vectors) -> Callable[[Vectors], list[int]]:
    """Its graph over the same vectors, asked in one thread."""
    index = hnswlib_index(vectors, threads=torch.get_num_threads())

    def search(query: Vectors) -> list[int]:
        found: list[int] = index.knn_query(query, k=K, num_threads=1)[0][0].tolist()
        return found

    return search


def _index_folder(home: Path, count: int) -> Path:
    """Where an index of so many vectors lies."""
    for path in home.rglob(MANIFEST_FILE):
        if json.loads(path.read_bytes()).get("count") == count:
            return path.parent
    raise InfonceError(f"no index of {count:,} vectors lies below {home}")
