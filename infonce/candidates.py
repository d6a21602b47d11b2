"""Which documents may be hard negatives of which queries, as arrays: one entry for each query and document.

Rows are numbers of queries and documents; nothing here knows a text or a model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.mining_config import MiningConfig, Sampling

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
NEAR_DUPLICATE: Final = 0.99
"""A document as alike as this to a positive says the same: nothing can be learnt from telling the two apart."""
_AT_ONCE: Final = 16_384  # products of vectors: twice 25 MB at 384 dimensions


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The unit vectors of queries and of documents, (n, D) each."""

    queries: Floats
    documents: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Query, document and their similarity, entry by entry, by rising query; each entry once."""

    queries: Ints
    documents: Ints
    scores: Floats

    def __len__(self) -> int:
        return len(self.queries)

    def where(self, kept: NDArray[np.bool_] | Ints) -> Self:
        """The entries that are kept, by a mask, or by their places."""
        return type(self)(queries=self.queries[kept], documents=self.documents[kept], scores=self.scores[kept])

    @classmethod
    def scored(cls, queries: Ints, documents: Ints, *, vectors: Vectors) -> Self:
        """These entries, each with the similarity that the vectors give it."""
        return cls(
            queries=queries,
            documents=documents,
            scores=similarities(vectors.queries, queries, others=vectors.documents, other_rows=documents),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """How many candidates were left out, each by the first of the reasons that holds."""

    over_max_score: int
    within_absolute_margin: int
    within_relative_margin: int
    near_duplicates: int


def similarities(vectors: Floats, rows: Ints, *, others: Floats, other_rows: Ints) -> Floats:
    """The inner product of `vectors[rows[i]]` and `others[other_rows[i]]`; its bits depend on these two alone.

    Shape:
        vectors (n, D), others (m, D), rows and other_rows (E,); returns (E,).
    """
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        np.einsum("ed,ed->e", vectors[rows[part]], others[other_rows[part]], out=scores[part])
    return scores


def in_window(found: Ints, forbidden: NDArray[np.bool_], *, window: tuple[int, int]) -> tuple[NDArray[np.bool_], ...]:
    """Which of the documents found stand before the window of ranks, and which in it.

    A forbidden document takes no rank: what a query's own positives push down is not further away for that.

    Shape:
        found (n, k) documents, best first, −1 where there is none; forbidden (n, k); returns (n, k) twice.
    """
    allowed = (found >= 0) & ~forbidden
    ranks = np.cumsum(allowed, axis=1) - 1
    first, last = window
    return allowed & (ranks < first), allowed & (ranks >= first) & (ranks < last)


def filter_candidates(
    candidates: Candidates, positives: Candidates, *, documents: Floats, config: MiningConfig
) -> tuple[Candidates, Dropped]:
    """The candidates that are likely to be wrong answers, and how many were not.

    With several positives the one that scores lowest, the hardest, sets the margin, as in sentence-transformers. Where
    its score is negative, a share of its size is taken off all the same.
    """
    hardest = np.full(int(positives.queries.max(initial=-1)) + 1, np.inf, dtype=np.float32)
    np.minimum.at(hardest, positives.queries, positives.scores)
    kept, num_high = _kept(candidates, None if config.max_score is None else candidates.scores <= config.max_score)
    num_margin = []
    for margin, share in ((config.absolute_margin, False), (config.relative_margin, True)):
        top = hardest[kept.queries]
        below = None if margin is None else kept.scores < top - margin * (np.abs(top) if share else 1)
        kept, num = _kept(kept, below)
        num_margin.append(num)
    kept, num_alike = _kept(kept, ~_near_duplicates(kept, positives, documents=documents))
    return kept, Dropped(
        over_max_score=num_high,
        within_absolute_margin=num_margin[0],
        within_relative_margin=num_margin[1],
        near_duplicates=num_alike,
    )


def _kept(candidates: Candidates, good: NDArray[np.bool_] | None) -> tuple[Candidates, int]:
    if good is None:
        return candidates, 0
    return candidates.where(good), int((~good).sum())


def _near_duplicates(candidates: Candidates, positives: Candidates, *, documents: Floats) -> NDArray[np.bool_]:
    """Which candidates are all but equal to a positive of their query."""
    first = np.searchsorted(positives.queries, candidates.queries, side="left")
    counts = np.searchsorted(positives.queries, candidates.queries, side="right") - first
    alike = np.zeros(len(candidates), dtype=np.bool_)
    for part in _parts(counts):
        entries = np.repeat(np.arange(part.start, part.stop), counts[part])
        begins = np.cumsum(counts[part]) - counts[part]
        nth = np.arange(len(entries)) - np.repeat(begins, counts[part])
        rows, others = candidates.documents[entries], positives.documents[first[entries] + nth]
        scores = similarities(documents, rows, others=documents, other_rows=others)
        alike[entries[scores >= NEAR_DUPLICATE]] = True
    return alike


def _parts(counts: Ints) -> Iterator[slice]:
    """Slices of the entries, each of which needs about so many products at once, or is one entry."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


def sample(
    candidates: Candidates, draws: tuple[NDArray[np.uint64], NDArray[np.uint64]], *, config: MiningConfig
) -> Candidates:
    """At most `per_query` candidates of each query, highest score first.

    `draws` are random numbers of the queries and of the documents: a draw of a query and a document is made of theirs
    alone, so that no order and no other document changes it.
    """
    drawn = config.sampling is Sampling.RANDOM
    priorities = _drawn(candidates, draws[0], documents=draws[1]) if drawn else -candidates.scores
    order = np.lexsort((candidates.documents, priorities, candidates.queries))
    chosen = candidates.where(order)
    ranks = np.arange(len(order)) - np.searchsorted(chosen.queries, chosen.queries, side="left")
    chosen = chosen.where(ranks < config.per_query)
    return chosen.where(np.lexsort((chosen.documents, -chosen.scores, chosen.queries)))


def _drawn(candidates: Candidates, queries: NDArray[np.uint64], *, documents: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return _mixed(_mixed(queries)[candidates.queries] ^ documents[candidates.documents])


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers whose every bit depends on every bit given: the end of splitmix64 (Steele et al. 2014)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
