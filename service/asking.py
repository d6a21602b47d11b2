"""One query of a collection as it is searched for, and which of several can be searched together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infonce.filters import Filter
from service.schemas.collections import CollectionQuery


class Found(Protocol):
    """Ids and scores, best first."""

    @property
    def ids(self) -> Sequence[str]:
        """Of the documents."""

    @property
    def scores(self) -> Sequence[float]:
        """Higher is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A text, a vector or a document's id, and what of the documents near it is wanted."""

    text: str | None
    vector: NDArray[np.float32] | None
    id: str | None
    k: int
    offset: int
    filter: Filter | None
    filter_text: str
    """Equal for equal filters."""
    exact: bool
    include: Sequence[str]
    score_threshold: float | None

    @property
    def width(self) -> int:
        """How many hits the search has to give: a document is not its own neighbour."""
        return self.offset + self.k + (self.id is not None)

    def cut(self, found: Found) -> list[tuple[str, float]]:
        """The hits that were asked for, of those that the search gave."""
        pairs = [pair for pair in zip(found.ids, found.scores, strict=True) if pair[0] != self.id]
        pairs = pairs[self.offset : self.offset + self.k]
        return pairs if self.score_threshold is None else [pair for pair in pairs if pair[1] >= self.score_threshold]


def as_asked(body: CollectionQuery) -> Asked:
    """The query of a body that holds no several ones."""
    return Asked(
        text=body.query,
        vector=body.vector,
        id=body.id,
        k=body.k,
        offset=body.offset,
        filter=None if body.filter is None else body.filter.to_library(),
        filter_text="" if body.filter is None else body.filter.model_dump_json(),
        exact=body.exact,
        include=body.include,
        score_threshold=body.score_threshold,
    )


def grouped(queries: Sequence[Asked]) -> list[list[int]]:
    """The places of queries that one search can answer."""
    groups: defaultdict[tuple[int, str, bool], list[int]] = defaultdict(list)
    for place, one in enumerate(queries):
        groups[one.width, one.filter_text, one.exact].append(place)
    return list(groups.values())
