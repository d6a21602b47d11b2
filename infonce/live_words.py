"""The words of an index and of what was written since, searched as one by BM25.

How rare a word is, is counted among the documents that can be found now; the mean length of a text is that of the
index as it was made, whose shares hold it, or of the newer texts where the index has no words. Both follow from the
documents alone: whoever opens the same state finds the same, in the same order, with the same scores.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infonce.bm25 import K1, B, Bm25Index, best, idf, words_of
from infonce.columns import Mask
from infonce.filters import Filter
from infonce.index import Hits
from infonce.live_index import LiveIndex

WORDS_FOLDER: Final = "words"
"""In a version's folder: the words of its documents."""

_Counts = NDArray[np.int32]


class NewerWords:
    """The words of newer documents, row by row; there are only ever more.

    Who searches looks at the rows of their own state alone, so that rows may be added meanwhile; by one at a time.
    """

    def __init__(self) -> None:
        self._postings: dict[str, array[int]] = {}  # row, times, row, times …: tuples would take ten times that
        self._lengths = array("i")

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, texts: Sequence[str]) -> None:
        """The next rows have these texts."""
        for words in words_of(texts):
            for word, times in Counter(words).items():
                entry = array("i", (len(self._lengths), times))
                self._postings.setdefault(word, array("i")).extend(entry)
            self._lengths.append(len(words))

    def lengths(self, count: int) -> _Counts:
        """The words of the first so many rows; (count,)."""
        return np.frombuffer(self._lengths[:count], dtype=np.int32)  # of a copy: the array itself could not grow

    def postings(self, word: str, *, count: int) -> tuple[_Counts, _Counts]:
        """Which of the first so many rows have the word, and how often each."""
        pairs = np.frombuffer(self._postings.get(word, array("i"))[:], dtype=np.int32).reshape(-1, 2)
        pairs = pairs[pairs[:, 0] < count]
        return pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True, kw_only=True)
class LiveWords:
    """The words of a live index's documents."""

    main: Bm25Index
    newer: NewerWords = field(default_factory=NewerWords)

    def is_wordless(self, live: LiveIndex) -> bool:
        """Whether no document of the index, and no newer one as it is now, has a word to be found by."""
        newer = live.newer.current
        return not self.main.num_worded and not self.newer.lengths(len(newer))[newer].any()

    def search(self, texts: Sequence[str], k: int, *, live: LiveIndex, asked: Filter | None = None) -> list[Hits]:
        """The `k` best documents of each query that pass the filter and share a word with it, best first.

        Equal scores rank as the documents were written. `newer` has the words of every newer document of `live`.
        """
        main, newer = live.findable()
        passing = np.concatenate((main, newer) if asked is None else live.findable(asked))
        lengths = self.newer.lengths(len(newer))
        counted = _Counted(words=self, main=main, newer=newer, lengths=lengths, mean=self._mean(lengths[newer]))
        found = []
        for words in words_of(texts):
            scores = np.zeros(len(passing), dtype=np.float32)
            for rows, more in counted.shares(list(dict.fromkeys(words))):
                scores[rows] += more
            scores[~passing] = 0
            order = best(scores, k)
            found.append(Hits(tuple(live.ids_of(order)), tuple(map(float, scores[order]))))
        return found

    def _mean(self, lengths: _Counts) -> float:
        return self.main.mean_length or (float(lengths.mean()) if lengths.any() else 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counted:
    """The words of one state, of whose documents some can be found."""

    words: LiveWords
    main: Mask
    newer: Mask
    lengths: _Counts
    mean: float

    def shares(self, words: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """For each word the rows that have it, those of newer documents behind the others, and what it adds to each."""
        total = int(np.count_nonzero(self.main) + np.count_nonzero(self.newer))
        norms = K1 * (1 - B + B * self.lengths / self.mean)
        for word in words:
            old = self.words.main.postings(word)
            rows, times = self.words.newer.postings(word, count=len(self.newer))
            num_texts = int(np.count_nonzero(self.main[old.rows]) + np.count_nonzero(self.newer[rows]))
            if num_texts:
                shares = np.concatenate([old.shares, times / (times + norms[rows])]).astype(np.float32)
                yield (
                    np.concatenate([old.rows, len(self.main) + rows]),
                    shares * np.float32(idf(num_texts, count=total)),
                )
