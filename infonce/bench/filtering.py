"""What is found among the vectors that a filter leaves, and how long that takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infonce.bench.neighbours import Neighbours, Vectors
from infonce.bench.report import Column, Row
from infonce.bench.rivals import K, Mask, Way
from infonce.bench.vectors import Searched

SHARES: Final = (0.5, 0.1, 0.02, 0.005)
"""That a filter leaves, drawn at random."""
FILTER_COLUMNS: Final = (
    Column(heading="filter leaves", key="filter"),
    Column(heading="search", key="name"),
    Column(heading=f"recall@{K}", key="recall", form=".4f"),
    Column(heading="one query, p50 ms", key="single_ms", form=",.3f"),
)
_SIDE_SHARES: Final = (0.5, 0.1)
"""That lie to one side: fewer are compared exactly in any index of up to 200,000 vectors."""
_SINGLES: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One filter and one way to search behind it."""

    filter: str
    share: float
    way: Way
    allowed: Mask
    truth: Neighbours
    rounds: list[float] = field(default_factory=list)


class Filtered:
    """Every filter behind every way that takes one."""

    def __init__(self, searched: Searched, ways: Sequence[Way], *, seed: int) -> None:
        self._queries = searched.queries
        self._cases: list[_Case] = []
        self._recall: dict[tuple[str, str], float] = {}
        for name, share, allowed in _filters(searched.vectors, seed=seed):
            truth = Neighbours(searched.vectors, searched.queries, k=K, allowed=allowed)
            self._cases += [
                _Case(filter=name, share=share, way=way, allowed=allowed, truth=truth)
                for way in ways
                if way.filtered is not None
            ]

    def round(self, *, backwards: bool) -> None:
        """Each was asked some queries, one after the other; the first time all of them, for the recall."""
        for case in self._cases[:: -1 if backwards else 1]:
            assert case.way.filtered is not None, "others have no case"
            key = case.filter, case.way.name
            if key not in self._recall:
                found = [case.way.filtered(query[None], case.allowed)[0] for query in self._queries]
                self._recall[key] = case.truth.recall(found)
            seconds = []
            for query in self._queries[:_SINGLES]:
                began = perf_counter()
                case.way.filtered(query[None], case.allowed)
                seconds.append(perf_counter() - began)
            case.rounds.append(1_000 * median(seconds))

    def rows(self) -> list[Row]:
        """A row for each filter and way."""
        return [
            {
                "kind": "filter",
                "filter": case.filter,
                "share": case.share,
                "name": case.way.name,
                "side": case.way.side,
                "recall": self._recall[case.filter, case.way.name],
                "single_ms": median(case.rounds),
            }
            for case in self._cases
        ]


def _filters(vectors: Vectors, *, seed: int) -> list[tuple[str, float, Mask]]:
    """Name, share and the vectors that are left; at least `K` of them."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(vectors))
    found = [(f"{share:.1%}", share, _first(order, share)) for share in SHARES]
    along = np.argsort(vectors @ draw.standard_normal(vectors.shape[1], dtype=np.float32))
    return found + [(f"{share:.1%}, of one side", share, _first(along, share)) for share in _SIDE_SHARES]


def _first(order: NDArray[np.intp], share: float) -> Mask:
    allowed = np.zeros(len(order), dtype=np.bool_)
    allowed[order[: max(K, round(share * len(order)))]] = True
    return allowed
