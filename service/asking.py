"""One query of a collection as it is searched for, and which of several can be searched together."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from infonce.filters import Filter
from infonce.fusion import Fusion
from service.schemas.collections import MAX_HITS, CollectionQuery
from service.store.excerpts import Field

if TYPE_CHECKING:
    from infonce.live_index import LiveIndex

HYBRID_DEPTH: Final = MAX_HITS
"""Of each ranking that a hybrid query joins; it does not follow k and offset, so that pages are of one ranking."""


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
    include: frozenset[Field]
    hybrid: Fusion | None
    score_threshold: float | None

    @property
    def width(self) -> int:
        """How many hits the search has to give: a document is not its own neighbour."""
        if self.hybrid is not None:
            return HYBRID_DEPTH
        return self.offset + self.k + (self.id is not None)

    def cut(self, found: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
        """The hits that were asked for, of those that the search gave, best first."""
        pairs = [pair for pair in found if pair[0] != self.id]
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
        include=frozenset(map(Field, body.include)),
        hybrid=None if body.hybrid is None else body.hybrid.to_library(),
        score_threshold=body.score_threshold,
    )


def grouped(queries: Sequence[Asked]) -> list[list[int]]:
    """The places of queries that one search can answer."""
    groups: defaultdict[tuple[int, str, bool, bool], list[int]] = defaultdict(list)
    for place, one in enumerate(queries):
        groups[one.width, one.filter_text, one.exact, one.hybrid is not None].append(place)
    return list(groups.values())


def warnings_of(live: "LiveIndex", asked: Filter | None) -> list[str]:
    """A misspelt key finds nothing, or everything, and says so."""
    unknown = [] if asked is None else live.unknown_keys(asked)
    return [f"no searchable document has the metadata key {key!r}" for key in unknown]
