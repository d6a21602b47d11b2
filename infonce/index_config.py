"""How an index finds what is near: its types, and which one `auto` chooses; knows no FAISS."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from infonce.errors import ConfigError
from infonce.limits import check_whole

FLAT_UP_TO: Final = 20_000
"""Vectors among which an exact search costs no more than what surrounds it: 3 ms at 384 dimensions on one core."""

GRAPH_UP_TO: Final = 2_000_000
"""Vectors for which the links of a graph, 272 bytes each, and the hours of building more are worth having."""

PQ_CENTRES: Final = 256
"""Of each part of a vector in product quantisation, which is what one byte can name; fewer vectors have not as many."""

_PQ_DIMENSIONS: Final = 4
"""Of a part, where the dimension can be divided so."""
_PQ_AT_MOST: Final = 16
"""Of a part: one byte says too little of more."""


def pq_parts(dimension: int) -> int:
    """Into how many parts of equal length, about four dimensions each, product quantisation cuts a vector."""
    most = max(1, dimension // _PQ_DIMENSIONS)
    return max(parts for parts in range(1, most + 1) if dimension % parts == 0)


class IndexType(StrEnum):
    """How vectors are arranged."""

    AUTO = "auto"
    FLAT = "flat"
    """One after the other, all compared; exact."""
    HNSW = "hnsw"
    """A graph of near neighbours (Malkov and Yashunin 2018, arXiv 1603.09320)."""
    IVF_SQ8 = "ivf_sq8"
    """Lists around centres, a byte a dimension, re-ranked exactly."""
    IVF_PQ = "ivf_pq"
    """Lists around centres, product quantisation (Jégou et al. 2011), re-ranked exactly."""


MIN_CANDIDATES: Final = 100
"""That are ranked exactly however few hits are asked for; their vectors take 0.2 ms to read and compare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig:
    """How an index is built and asked.

    Raises:
        ConfigError: a setting is outside its limits.
    """

    type: IndexType = IndexType.AUTO
    prefix: int | None = None
    """So many first dimensions, renormalised, find the candidates, which the whole vectors rank: for models that were
    trained for it (Kusupati et al. 2022, arXiv 2205.13147)."""
    links: int = 32
    """Of a vector in the graph; its lowest layer has twice as many."""
    build_effort: int = 100
    """Candidates among which a graph's links are chosen (efConstruction)."""
    effort: int = 96
    """Candidates that a search follows through a graph (efSearch); recall is in docs/log.md."""
    probes: int = 96
    """Lists that a search reads; 32 find 0.94 of the nearest of 100,000 embeddings, these 0.98 (docs/log.md)."""
    exact_up_to: int = FLAT_UP_TO
    """Where a filter leaves no more vectors than this, all of them are compared."""
    refine: int = 8
    """Candidates for each hit that are ranked again by their exact scores."""

    def __post_init__(self) -> None:
        if self.prefix is not None:
            check_whole("prefix", self.prefix, low=1, high=65_536)
        for name, high in (("links", 128), ("build_effort", 2_000), ("effort", 10_000), ("probes", 65_536)):
            check_whole(name, getattr(self, name), low=2 if name == "links" else 1, high=high)
        check_whole("refine", self.refine, low=1, high=1_000)
        check_whole("exact_up_to", self.exact_up_to, low=0, high=10**9)

    def candidates(self, width: int) -> int:
        """How many rows are looked up for so many hits."""
        return max(width * self.refine, MIN_CANDIDATES)

    def resolve(self, count: int, *, dimension: int) -> Self:
        """The config with a type: exact for few vectors, a graph for many, compressed lists for more.

        Raises:
            ConfigError: the prefix is not shorter than the vectors, or these are too few for the type.
        """
        if self.prefix is not None and self.prefix >= dimension:
            message = f"prefix is {self.prefix} and the vectors have {dimension} dimensions; it must be shorter"
            raise ConfigError(message, param="prefix")
        if self.type is IndexType.IVF_PQ:
            _check_pq(count, dimension=self.prefix or dimension)
        if self.type is not IndexType.AUTO:
            return self
        if count <= FLAT_UP_TO:
            return replace(self, type=IndexType.FLAT)
        return replace(self, type=IndexType.HNSW if count <= GRAPH_UP_TO else IndexType.IVF_SQ8)


def _check_pq(count: int, *, dimension: int) -> None:
    if 0 < count < PQ_CENTRES:
        message = f"type is ivf_pq and there are {count} vectors; it needs {PQ_CENTRES}: choose flat"
        raise ConfigError(message, param="type")
    if dimension // pq_parts(dimension) > _PQ_AT_MOST:
        message = f"type is ivf_pq and {dimension} dimensions cannot be cut into equal parts of {_PQ_AT_MOST} or fewer"
        raise ConfigError(f"{message}; choose ivf_sq8, or a prefix of another length", param="type")
