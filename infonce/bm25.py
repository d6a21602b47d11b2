"""BM25 over words, by the bm25s library (Lù 2024, arXiv 2407.03618): what shares rare words with a query."""

from collections.abc import Sequence
from typing import Any, Final, Self

import bm25s
import numpy as np
from numpy.typing import NDArray

_WORDS: Final = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
"""Runs of letters and digits; Chinese and Japanese put no blanks between words, so that each sign is one."""


class Bm25Index:
    """Texts that are searched by their words; no stop words and no stemmer, which would know one language alone."""

    def __init__(self, scorer: Any, vocabulary: dict[str, int], *, count: int) -> None:
        self._scorer = scorer
        self._vocabulary = vocabulary
        self._count = count

    @classmethod
    def build(cls, texts: Sequence[str]) -> Self:
        """An index over `texts`, which are numbered as they come."""
        ids, vocabulary = _words(texts)
        scorer = bm25s.BM25(method="lucene", backend="numpy", csc_backend="numpy")
        if vocabulary:
            scorer.index((ids, vocabulary), show_progress=False)
        return cls(scorer, vocabulary, count=len(texts))

    def search(self, texts: Sequence[str], k: int) -> NDArray[np.int64]:
        """The numbers of the `k` best texts for each query, best first, then −1: what shares no word is not found.

        Equal scores rank by number.

        Shape:
            returns (len(texts), min(k, count)) int64.
        """
        width = min(k, self._count)
        found = np.full((len(texts), width), -1, dtype=np.int64)
        ids, vocabulary = _words(texts)
        place = {number: self._vocabulary.get(word) for word, number in vocabulary.items()}
        for row, words in enumerate(ids):
            if known := [number for word in words if (number := place[word]) is not None]:
                best = _best(self._scorer.get_scores_from_ids(known), width)
                found[row, : len(best)] = best
        return found


def _words(texts: Sequence[str]) -> tuple[list[list[int]], dict[str, int]]:
    """The words of each text as numbers, and the number of each word."""
    ids, vocabulary = bm25s.tokenize(list(texts), token_pattern=_WORDS, stopwords=[], show_progress=False)
    return ids, vocabulary


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The places of the `k` highest scores above 0, highest first, equal ones by place."""
    last = max(np.partition(scores, -k)[-k], np.finfo(scores.dtype).tiny)
    above = np.flatnonzero(scores > last)
    places = np.concatenate([above, np.flatnonzero(scores == last)[: k - len(above)]])
    places.sort()
    return places[np.argsort(-scores[places], kind="stable")]
