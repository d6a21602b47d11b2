"""BM25 over words, by the bm25s library (Lù 2024, arXiv 2407.03618): what shares rare words with a query.

The variant is Lucene's (Kamphuis et al., ECIR 2020): a word that a text has tf times adds
idf · tf / (tf + k1 · (1 − b + b · length / mean length)). What a query says twice counts once.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import bm25s
import numpy as np
from numpy.typing import NDArray

from infonce.errors import IndexCorrupt
from infonce.ranking import highest

K1: Final = 1.5
B: Final = 0.75
"""Both as bm25s has them; on short and on long texts 1.2 for k1 finds the same (docs/log.md, 2026-11-29)."""

_FACTS_FILE: Final = "words.json"
_FORMAT: Final = 1
_WORDS: Final = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
"""Runs of letters and digits, so that a_name is two words; Chinese and Japanese put no blanks between words, so that
each sign is one."""

_NO_ROWS: Final = np.empty(0, dtype=np.int32)
_NO_SHARES: Final = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """What is known of the texts beside their words."""

    count: int
    num_worded: int
    """Texts that have a word."""
    mean_length: float
    """In words."""


@dataclass(frozen=True, slots=True)
class Postings:
    """The texts that have a word, and by how much it counts in each before its idf: from 0 to 1."""

    rows: NDArray[np.int32]
    shares: NDArray[np.float32]


class Bm25Index:
    """Texts that are searched by their words; no stop words and no stemmer, which would know one language alone."""

    def __init__(self, scorer: Any, vocabulary: dict[str, int], *, facts: _Facts) -> None:
        self._scorer = scorer
        self._vocabulary = vocabulary
        self.count = facts.count
        self.num_worded = facts.num_worded
        self.mean_length = facts.mean_length
        self._facts = facts

    @classmethod
    def build(cls, texts: Sequence[str]) -> Self:
        """An index over `texts`, which are numbered as they come."""
        ids, vocabulary = _numbered(texts)
        scorer = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="numpy")
        if vocabulary:
            scorer.index((ids, vocabulary), create_empty_token=False, show_progress=False)
        lengths = [len(words) for words in ids]
        mean = sum(lengths) / max(1, len(lengths))
        facts = _Facts(count=len(lengths), num_worded=sum(map(bool, lengths)), mean_length=mean)
        return cls(scorer, vocabulary, facts=facts)

    def search(self, texts: Sequence[str], k: int) -> NDArray[np.int64]:
        """The numbers of the `k` best texts for each query, best first, then −1: what shares no word is not found.

        Equal scores rank by number.

        Shape:
            returns (len(texts), min(k, count)) int64.
        """
        width = min(k, self.count)
        found = np.full((len(texts), width), -1, dtype=np.int64)
        for row, words in enumerate(words_of(texts)):
            if known := [self._vocabulary[word] for word in dict.fromkeys(words) if word in self._vocabulary]:
                order = best(self._scorer.get_scores_from_ids(known), width)
                found[row, : len(order)] = order
        return found

    def postings(self, word: str) -> Postings:
        """Where the word stands; bm25s keeps shares that its idf is multiplied with."""
        number = self._vocabulary.get(word)
        if number is None:
            return Postings(_NO_ROWS, _NO_SHARES)
        kept = self._scorer.scores
        start, end = (int(at) for at in kept["indptr"][number : number + 2])
        return Postings(kept["indices"][start:end], kept["data"][start:end] / idf(end - start, count=self.count))

    def save(self, folder: Path) -> None:
        """The index stands in the folder, in the files of bm25s and one more."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._vocabulary:
            self._scorer.save(str(folder), show_progress=False)
        told = {"format": _FORMAT, "vocabulary": len(self._vocabulary), **asdict(self._facts)}
        (folder / _FACTS_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index of a folder whose checksums are right; all but its vocabulary stays on disk, mapped.

        Raises:
            IndexCorrupt: a file is missing, or says something else than another one.
        """
        try:
            told = json.loads((folder / _FACTS_FILE).read_bytes())
            if told.pop("format") != _FORMAT:
                raise IndexCorrupt(f"the words in {folder.name} were written by a newer version; update this one")
            num_words = told.pop("vocabulary")
            facts = _Facts(**told)
            scorer = bm25s.BM25.load(str(folder), mmap=True, show_progress=False) if num_words else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or error  # without the path
            raise IndexCorrupt(f"the words in {folder.name} cannot be read: {reason}; rebuild the index") from error
        vocabulary = {} if scorer is None else scorer.vocab_dict
        sizes = {num_words, len(vocabulary), 0 if scorer is None else len(scorer.scores["indptr"]) - 1}
        if len(sizes) > 1 or (scorer is not None and scorer.scores["num_docs"] != facts.count):
            raise IndexCorrupt(f"the words in {folder.name} are not of one index; rebuild the index")
        return cls(scorer, vocabulary, facts=facts)


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, in their order, in lower case."""
    found: list[list[str]] = bm25s.tokenize(
        list(texts), token_pattern=_WORDS, stopwords=[], return_ids=False, show_progress=False
    )
    return found


def idf(num_texts: int, *, count: int) -> float:
    """How much a word counts that so many of `count` texts have."""
    return math.log(1 + (count - num_texts + 0.5) / (num_texts + 0.5))


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The places of the `k` highest scores above 0, highest first, equal ones by place."""
    places = np.flatnonzero(scores > 0)
    return places[highest(scores[places], k)]


def _numbered(texts: Sequence[str]) -> tuple[list[list[int]], dict[str, int]]:
    """The words of each text as numbers, and the number of each word."""
    ids, vocabulary = bm25s.tokenize(list(texts), token_pattern=_WORDS, stopwords=[], show_progress=False)
    return ids, vocabulary
