"""`infonce bench search`: what `VectorIndex` finds and how fast, beside sentence-transformers, FAISS and hnswlib."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, Final

import faiss

from infonce.bench.filtering import FILTER_COLUMNS, Filtered
from infonce.bench.index_types import TYPE_COLUMNS, TypesMeasured
from infonce.bench.neighbours import Found, Neighbours, Vectors
from infonce.bench.report import Bars, Column, Numbers, Report, Row
from infonce.bench.rivals import GRAPH, NO_HNSWLIB, K, Way, is_hnswlib_there, ways
from infonce.bench.vectors import Searched
from infonce.busy import Busy
from infonce.index_config import IndexType

_BATCH: Final = 64
_SINGLE_SECONDS: Final = 2.0
_MIN_SINGLES: Final = 8
_COLUMNS: Final = (
    Column(heading="search", key="name"),
    Column(heading="one query, p50 ms", key="single_ms", form=",.3f"),
    Column(heading="queries/s, 1 at once", key="batch_1", form=",.1f"),
    Column(heading=f"queries/s, {_BATCH} at once", key=f"batch_{_BATCH}", form=",.1f"),
    Column(heading=f"recall@{K}", key="recall", form=".4f"),
    Column(heading="built in, s", key="build_seconds", form=",.1f"),
    Column(heading="rounds", key="rounds", form="d"),
)
_BARS: Final = (
    Bars(title="queries a second, 1 at once", key="batch_1", form=",.0f"),
    Bars(title=f"queries a second, {_BATCH} at once", key=f"batch_{_BATCH}", form=",.0f"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is searched, and how often."""

    searched: Searched
    rounds: int
    seed: int
    types: Sequence[IndexType]
    """Whose memory is weighed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Speeds:
    """What a way did, a value a round."""

    way: Way
    recall: float
    rounds: list[dict[str, float]] = field(default_factory=list)

    def row(self) -> Row:
        row: dict[str, Any] = {"kind": "search", "side": self.way.side, "name": self.way.name, "recall": self.recall}
        for key in self.rounds[0]:
            values = [one[key] for one in self.rounds]
            row |= {key: median(values), f"{key}_low": min(values), f"{key}_high": max(values)}
        return row | {"build_seconds": self.way.build_seconds, "rounds": len(self.rounds)}


def measure(setting: Setting, *, say: Busy) -> Iterator[Report]:
    """What is known after each round; all take turns in this process, after all queries once that do not count."""
    searched = setting.searched
    found = list(ways(searched.vectors, say=say))
    say("Finding the true neighbours")
    truth = Neighbours(searched.vectors, searched.queries, k=K)
    speeds = []
    for way in found:
        say(f"Warming up, {way.name}")
        speeds.append(_Speeds(way=way, recall=truth.recall(_all(way.search, searched.queries))))
    filters = Filtered(searched, found, seed=setting.seed)
    with TypesMeasured.built(searched, setting.types, truth=truth, say=say) as types:
        for number in range(setting.rounds):
            where = f"Round {number + 1} of {setting.rounds}"
            for one in speeds[:: -1 if number % 2 else 1]:
                say(f"{where}, {one.way.name}")
                one.rounds.append(_round(one.way.search, searched.queries))
            say(f"{where}, filters")
            filters.round(backwards=bool(number % 2))
            say(f"{where}, memory")
            types.round(backwards=bool(number % 2))
            yield _report(setting, speeds, filters=filters, types=types)


def _round(search: Callable[[Vectors], Found], queries: Vectors) -> dict[str, float]:
    """One query after the other for a moment, then whole batches."""
    singles: list[float] = []
    for query in queries:
        began = perf_counter()
        search(query[None])
        singles.append(perf_counter() - began)
        if sum(singles) > _SINGLE_SECONDS and len(singles) >= _MIN_SINGLES:
            break
    began = perf_counter()
    starts = range(0, len(queries) - _BATCH + 1, _BATCH)
    for start in starts:
        search(queries[start : start + _BATCH])
    batch = len(starts) * _BATCH / (perf_counter() - began)
    single = median(singles)
    return {"single_ms": 1_000 * single, "batch_1": 1 / single, f"batch_{_BATCH}": batch}


def _all(search: Callable[[Vectors], Found], queries: Vectors) -> Found:
    blocks = range(0, len(queries), _BATCH)
    return [found for start in blocks for found in search(queries[start : start + _BATCH])]


def _report(setting: Setting, speeds: Sequence[_Speeds], *, filters: Filtered, types: TypesMeasured) -> Report:
    searched = setting.searched
    notes = [
        "Medians of rounds in one process, taken in turn. semantic_search normalises the corpus at every call unless "
        "it is given dot_score, which is right for unit vectors.",
        f"The graphs of FAISS and hnswlib have the links and efforts of ours: {GRAPH.links}, {GRAPH.build_effort} "
        f"while building, {GRAPH.effort} while searching. Ours holds a byte a dimension and ranks candidates exactly.",
        "The share of a filter is of the vectors that it leaves; of one side, it leaves those that are furthest along "
        "one direction, which the neighbours of most queries are not.",
    ]
    if is_hnswlib_there():
        notes.append(
            "hnswlib asks Python about every vector that it comes to behind a filter, and raises where it finds fewer "
            f"than {K}: such a query has found nothing."
        )
    else:
        notes.append(NO_HNSWLIB)
    return Report(
        name="search",
        tables=[
            Numbers(title="", columns=_COLUMNS, rows=[one.row() for one in speeds]),
            Numbers(title="With a filter", columns=FILTER_COLUMNS, rows=filters.rows()),
            Numbers(title="What an index takes", columns=TYPE_COLUMNS, rows=types.rows()),
        ],
        bars=_BARS,
        setting={
            "vectors": len(searched.vectors),
            "dimensions": searched.vectors.shape[1],
            "origin": searched.origin,
            "queries": len(searched.queries),
            "k": K,
            "threads": faiss.omp_get_max_threads(),
        },
        notes=notes,
    )
