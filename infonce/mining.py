"""Hard negatives: texts that a retriever takes for an answer and that are none, found for every pair.

Retrieve, filter, sample. The filter is that of NV-Retriever (Moreira et al. 2024, arXiv 2407.15831): what scores too
near to the positive is likely to be an answer that nobody marked.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infonce.bm25 import Bm25Index
from infonce.candidates import Candidates, Dropped, Vectors, filter_candidates, in_window, sample, similarities
from infonce.config import Side
from infonce.errors import ConfigError, Stopped
from infonce.index import QUERIES_AT_ONCE, VectorIndex
from infonce.known import Known
from infonce.mining_config import MiningConfig, Retriever
from infonce.pairs import Pair
from infonce.vectors import TextEncoder

Ints = NDArray[np.int64]
Search = Callable[[int, int, int], Ints]
"""The places among the searched documents of the k best for the queries from start to stop."""

_DEFAULT: Final = MiningConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class MinedPair:
    """A pair whose negatives are the given ones, then the mined ones from the highest score on."""

    pair: Pair
    positive_score: float
    negative_scores: tuple[float, ...]
    """Of every negative, given or mined: its similarity to the anchor."""
    num_given: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MiningCounts:
    """What became of whom."""

    queries: int
    documents: int
    """That were searched, near-duplicates counted once."""
    candidates: int
    """Within the window of ranks, over all queries."""
    dropped: Dropped
    mined: int
    """Negatives over all queries; pairs of one query share theirs."""
    queries_with_fewer: int
    """Than were wanted."""
    queries_without: int
    conflicting_negatives: int
    """Given negatives that a pair names as a positive of their query: they are no longer there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MiningSeconds:
    """How long which part took."""

    embedding: float
    searching: float
    """Telling the texts apart included."""
    filtering: float
    """Scoring, margins and near-duplicates."""
    sampling: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Mining:
    """What was mined: a pair for each that was given, in their order."""

    pairs: tuple[MinedPair, ...]
    counts: MiningCounts
    seconds: MiningSeconds

    def to_dict(self) -> dict[str, Any]:
        """The counts and the seconds as plain JSON values."""
        return {**asdict(self.counts), "seconds": asdict(self.seconds)}


def mine(
    encoder: TextEncoder,
    pairs: Sequence[Pair],
    *,
    corpus: Iterable[str] | None = None,
    config: MiningConfig = _DEFAULT,
    stop: Callable[[], bool] = lambda: False,
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> Mining:
    """Every pair with hard negatives out of the corpus, or out of the pairs' own texts, and never a known positive.

    Known positives of an anchor are those of all pairs with this anchor; whatever differs from one, or from the anchor
    itself, in case, white space and composition alone is none of its negatives either. Neither the order of the pairs
    nor that of the corpus changes a pair's negatives. `on_block(done, total)` counts the queries that were searched.

    Raises:
        ConfigError: there are no pairs.
        Stopped: `stop()` was true between two blocks of queries.
    """
    if not pairs:
        raise ConfigError("there are no pairs to mine for; bring at least one", param="training_file")
    clock = _Clock()
    known = Known.of(pairs, corpus)
    searching = clock.lap()
    queries = encoder.encode(known.queries, side=Side.QUERY)
    documents = _Documents(encoder, known, dimension=queries.shape[1])
    if config.retriever is not Retriever.BM25:
        documents.embed(known.searched)
    embedding = clock.lap()
    searches = _searches(known, Vectors(queries=queries, documents=documents.vectors), config=config)
    codes = retrieve(known, searches, window=config.range, stop=stop, on_block=on_block)
    asking, found = np.divmod(codes, len(known.documents))
    searching += clock.lap()
    documents.embed(found)  # by BM25 alone few of a large corpus
    documents.embed(known.told)
    vectors = Vectors(queries=queries, documents=documents.vectors)
    embedding += clock.lap()
    candidates = Candidates.scored(asking, found, vectors=vectors)
    positives = _positives(known, vectors)
    kept, dropped = filter_candidates(candidates, positives, documents=vectors.documents, config=config)
    filtering = clock.lap()
    chosen = sample(kept, known.draws(config.seed), config=config)
    mined = _joined(pairs, known, chosen=chosen, vectors=vectors)
    per_query = np.bincount(chosen.queries, minlength=len(known.queries))
    counts = MiningCounts(
        queries=len(known.queries),
        documents=len(known.searched),
        candidates=len(candidates),
        dropped=dropped,
        mined=len(chosen),
        queries_with_fewer=int((per_query < config.per_query).sum()),
        queries_without=int((per_query == 0).sum()),
        conflicting_negatives=known.num_conflicts,
    )
    seconds = MiningSeconds(embedding=embedding, searching=searching, filtering=filtering, sampling=clock.lap())
    return Mining(pairs=mined, counts=counts, seconds=seconds)


def retrieve(
    known: Known,
    searches: Sequence[Search],
    *,
    window: tuple[int, int],
    stop: Callable[[], bool],
    on_block: Callable[[int, int], None],
) -> Ints:
    """Query and document, as one sorted number each, of all that a search finds in the window and none before it.

    Raises:
        Stopped: `stop()` was true between two blocks of queries.
    """
    blocks = [np.empty(0, dtype=np.int64)]
    total = len(known.queries)
    for start in range(0, total, QUERIES_AT_ONCE):
        if stop():
            raise Stopped("stopped while searching")
        end = min(start + QUERIES_AT_ONCE, total)
        queries = np.arange(start, end)[:, None]
        depth = window[1] + known.most_forbidden(start, end)
        early, inside = [], []
        for search in searches:
            places = search(start, end, depth)
            documents = np.where(places < 0, -1, known.searched[places])
            before, within = in_window(documents, known.forbids(queries, documents), window=window)
            codes = queries * len(known.documents) + documents
            early.append(codes[before])
            inside.append(codes[within])
        blocks.append(np.setdiff1d(np.concatenate(inside), np.concatenate(early)))
        on_block(end, total)
    return np.concatenate(blocks)


class _Documents:
    """The vectors of the documents that were asked for; the others are zeros, which take no memory until written."""

    def __init__(self, encoder: TextEncoder, known: Known, *, dimension: int) -> None:
        self.vectors = np.zeros((len(known.documents), dimension), dtype=np.float32)
        self._there = np.zeros(len(known.documents), dtype=np.bool_)
        self._encoder = encoder
        self._texts = known.documents

    def embed(self, rows: Ints) -> None:
        """The vectors of these rows are there."""
        missing = np.unique(rows[~self._there[rows]])
        if len(missing):
            self.vectors[missing] = self._encoder.encode([self._texts[row] for row in missing], side=Side.DOCUMENT)
            self._there[missing] = True


def _searches(known: Known, vectors: Vectors, *, config: MiningConfig) -> list[Search]:
    searches: list[Search] = []
    if config.retriever is not Retriever.BM25:
        index = VectorIndex.build(vectors.documents[known.searched], [str(row) for row in known.searched])
        searches.append(lambda start, end, k: index.rows(vectors.queries[start:end], k))
    if config.retriever is not Retriever.DENSE:
        words = Bm25Index.build([known.documents[row] for row in known.searched])
        searches.append(lambda start, end, k: words.search(known.queries[start:end], k))
    return searches


def _positives(known: Known, vectors: Vectors) -> Candidates:
    """Every query with every one of its positives."""
    codes = np.unique(known.pair_queries * len(known.documents) + known.pair_positives)
    return Candidates.scored(*np.divmod(codes, len(known.documents)), vectors=vectors)


def _joined(pairs: Sequence[Pair], known: Known, *, chosen: Candidates, vectors: Vectors) -> tuple[MinedPair, ...]:
    """Each pair with its given negatives and then its query's mined ones."""
    begins = np.searchsorted(chosen.queries, np.arange(len(known.queries) + 1))
    positive_scores = similarities(
        vectors.queries, known.pair_queries, others=vectors.documents, other_rows=known.pair_positives
    )
    mined = []
    for place, (pair, query) in enumerate(zip(pairs, known.pair_queries, strict=True)):
        part = slice(begins[query], begins[query + 1])
        given = np.array(known.pair_given[place], dtype=np.int64)
        given_scores = similarities(
            vectors.queries, np.full(len(given), query), others=vectors.documents, other_rows=given
        )
        texts = (known.documents[row] for row in (*given, *chosen.documents[part]))
        mined.append(
            MinedPair(
                pair=Pair(pair.anchor, pair.positive, tuple(texts)),
                positive_score=float(positive_scores[place]),
                negative_scores=(*given_scores.tolist(), *chosen.scores[part].tolist()),
                num_given=len(given),
            )
        )
    return tuple(mined)


class _Clock:
    """Seconds between two looks at it."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before
