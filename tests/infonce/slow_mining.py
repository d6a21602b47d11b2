"""Mining as anyone would write it down at first: loops over texts, one similarity at a time."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from infonce.mining_config import MiningConfig
from infonce.pairs import Pair

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Lookup:
    """A `TextEncoder` that looks vectors up."""

    queries: Mapping[str, Vector]
    documents: Mapping[str, Vector]

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        table = self.queries if side is Side.QUERY else self.documents
        return np.stack([table[text] for text in texts])


def same(one: str, other: str) -> bool:
    """Whether two texts differ in composition, case and white space alone."""
    return spelling(one) == spelling(other)


@cache
def spelling(text: str) -> str:
    """The words of a text, composed and in lower case."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def slowly_mined(
    lookup: Lookup, pairs: Sequence[Pair], *, corpus: Sequence[str], config: MiningConfig
) -> list[tuple[str, ...]]:
    """The dense, top negatives of each pair, given ones first."""
    mined = []
    for pair in pairs:
        asked = lookup.queries[pair.anchor]
        own = [other for other in pairs if same(other.anchor, pair.anchor)]
        positives = [other.positive for other in own]
        taken = [pair.anchor, *positives, *(text for other in own for text in other.negatives)]
        distinct: list[str] = []
        for text in sorted(corpus):
            if not any(same(text, other) for other in [*distinct, *taken]):
                distinct.append(text)
        ranked = sorted(distinct, key=lambda text: -float(asked @ lookup.documents[text]))
        first, last = config.range
        hardest = min(float(asked @ lookup.documents[text]) for text in positives)
        found: list[str] = []
        for text in ranked[first:last]:
            score = float(asked @ lookup.documents[text])
            near = any(float(lookup.documents[text] @ lookup.documents[other]) >= 0.99 for other in positives)
            high = config.max_score is not None and score > config.max_score
            absolute = config.absolute_margin is not None and score >= hardest - config.absolute_margin
            share = config.relative_margin
            relative = share is not None and score >= hardest - share * abs(hardest)
            if not (near or high or absolute or relative):
                found.append(text)
        given = [text for text in pair.negatives if not any(same(text, other) for other in positives)]
        mined.append((*given, *found[: config.per_query]))
    return mined
