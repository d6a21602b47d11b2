"""Two rankings of documents made one: that of vectors (dense) and that of words."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RANK_CONSTANT: Final = 60
"""Of reciprocal rank fusion, as in the paper; it was near the best on all of its collections."""

Scores = Mapping[str, float]
"""By document id, the best first."""


class FusionMethod(StrEnum):
    """How the two are joined."""

    RRF = "rrf"
    WEIGHTED = "weighted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion:
    """The method, and of the weighted one the share of the dense side, from 0 to 1."""

    method: FusionMethod = FusionMethod.WEIGHTED
    weight: float = 0.7  # better than ranks and than 0.5 on each of three sets (docs/log.md, 2026-11-29)


def fuse(dense: Scores, words: Scores, *, fusion: Fusion) -> list[tuple[str, float]]:
    """Every document of either ranking with its joint score, best first; equal ones as the dense side ranks them."""
    if fusion.method is FusionMethod.RRF:
        return _ranked(_reciprocal(dense), _reciprocal(words))
    share = fusion.weight
    return _ranked(
        {id: share * score for id, score in _spread(dense).items()},
        {id: (1 - share) * score for id, score in _relative(words).items()},
    )


def _reciprocal(scores: Scores) -> Scores:
    """1 / (60 + rank), ranks counted from 1 (Cormack, Clarke and Büttcher, SIGIR 2009)."""
    return {id: 1 / (RANK_CONSTANT + rank) for rank, id in enumerate(scores, start=1)}


def _spread(scores: Scores) -> Scores:
    """From 0 for the lowest to 1 for the highest; all the same are 1."""
    lowest, highest = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    return {id: (score - lowest) / (highest - lowest) if highest > lowest else 1.0 for id, score in scores.items()}


def _relative(scores: Scores) -> Scores:
    """The same for BM25, whose lowest is the 0 of what shares no word, also where no such document is told of.

    With the lowest that was found instead, the second of two hits would count as if it had no word of the query
    (Bruch, Gai and Ingber, TOIS 2023, on the theoretical minimum).
    """
    highest = max(scores.values(), default=1.0)
    return {id: score / highest for id, score in scores.items()}


def _ranked(one: Scores, other: Scores) -> list[tuple[str, float]]:
    total = {id: one.get(id, 0.0) + other.get(id, 0.0) for id in [*one, *other]}
    return sorted(total.items(), key=lambda pair: -pair[1])
