"""What is known of each query before anything is searched: its positives, its given negatives, and the texts by number.

Texts are sorted, so that neither the order of the pairs nor that of the corpus changes what is mined.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.groups import groups_of
from infonce.pairs import Pair
from infonce.split import text_key

Ints = NDArray[np.int64]

_LARGE_GROUP: Final = 4_096
"""Documents that a search goes deeper for the sake of a group: where more of one come first, fewer are mined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The distinct texts of pairs and corpus, and what the pairs say of them; texts are named by their numbers.

    Anchors with one key are one query, asked by the first of them; documents with one key are near-duplicates.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    """Every text that may be a negative or has to be scored."""
    keys: Ints
    """Of each document."""
    num_keys: int
    """Those of queries included."""
    searched: Ints
    """The documents of the corpus, one for each key."""
    pair_queries: Ints
    """Of each pair."""
    pair_positives: Ints
    """The document of each pair."""
    pair_given: tuple[tuple[int, ...], ...]
    """The documents of each pair's negatives, without those that some pair names as a positive of the query."""
    num_conflicts: int
    """How many given negatives are positives of their query, and so are none."""
    forbidden: Ints
    """Query and key of all that may not be mined: positives, given negatives, and the query's own text; sorted."""
    groups: Ints
    """Of each key: what pairs join is no negative of one another, for it is likely to be a positive."""
    query_groups: Ints

    @classmethod
    def of(cls, pairs: Sequence[Pair], corpus: Iterable[str] | None) -> Self:
        """What the pairs say; without a corpus their own positives and negatives are searched."""
        told = sorted({text for pair in pairs for text in (pair.positive, *pair.negatives)})
        searched = told if corpus is None else sorted(set(corpus))
        documents = sorted({*told, *searched})
        key_of = {text: text_key(text) for text in {*documents, *(pair.anchor for pair in pairs)}}
        key_number = {key: number for number, key in enumerate(sorted(set(key_of.values())))}
        asked = {key_of[anchor]: anchor for anchor in sorted({pair.anchor for pair in pairs}, reverse=True)}
        query_of = {key: number for number, key in enumerate(sorted(asked))}
        number_of = {text: number for number, text in enumerate(documents)}
        keys = np.array([key_number[key_of[text]] for text in documents], dtype=np.int64)
        rows = np.array([number_of[text] for text in searched], dtype=np.int64)

        def code(pair: Pair, text: str) -> int:
            return query_of[key_of[pair.anchor]] * len(key_number) + key_number[key_of[text]]

        joined = {(key_number[key_of[pair.anchor]], key_number[key_of[pair.positive]]) for pair in pairs}
        relation = np.array(sorted(joined), dtype=np.int64).reshape(-1, 2).T
        groups = groups_of(relation, num_texts=len(key_number)).of_text
        positive = {code(pair, pair.positive) for pair in pairs}
        told_of = (code(pair, text) for pair in pairs for text in (pair.anchor, *pair.negatives))
        given = [[text for text in pair.negatives if code(pair, text) not in positive] for pair in pairs]
        return cls(
            queries=tuple(asked[key] for key in query_of),
            documents=tuple(documents),
            keys=keys,
            num_keys=len(key_number),
            searched=rows[np.unique(keys[rows], return_index=True)[1]],
            pair_queries=np.array([query_of[key_of[pair.anchor]] for pair in pairs], dtype=np.int64),
            pair_positives=np.array([number_of[pair.positive] for pair in pairs], dtype=np.int64),
            pair_given=tuple(tuple(number_of[text] for text in texts) for texts in given),
            num_conflicts=sum(len(pair.negatives) for pair in pairs) - sum(map(len, given)),
            forbidden=np.array(sorted(positive.union(told_of)), dtype=np.int64),
            groups=groups,
            query_groups=groups[[key_number[key] for key in query_of]],
        )

    @property
    def told(self) -> Ints:
        """The documents that pairs name: their positives and their negatives."""
        return np.array([*self.pair_positives, *(row for rows in self.pair_given for row in rows)], dtype=np.int64)

    def draws(self, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """A random number of each query and of each document, made of its text and the seed alone."""
        return _draws(self.queries, seed), _draws(self.documents, seed)

    def forbids(self, queries: Ints, documents: Ints) -> NDArray[np.bool_]:
        """Which of these documents may not be mined for these queries; one that is not there (−1) is anything."""
        keys = self.keys[documents]
        told = np.isin(queries * self.num_keys + keys, self.forbidden)
        joined: NDArray[np.bool_] = told | (self.query_groups[queries] == self.groups[keys])
        return joined

    def most_forbidden(self, start: int, stop: int) -> int:
        """How many documents at most are forbidden for one of these queries; of a large group some thousands count."""
        queries = np.arange(start, stop + 1) * self.num_keys
        told = int(np.diff(np.searchsorted(self.forbidden, queries)).max(initial=0))
        sizes = np.bincount(self.groups[self.keys[self.searched]], minlength=self.num_keys)
        return told + min(_LARGE_GROUP, int(sizes[self.query_groups[start:stop]].max(initial=0)))


def _draws(texts: Sequence[str], seed: int) -> NDArray[np.uint64]:
    key = seed.to_bytes(8, "little")
    digests = (hashlib.blake2b(text_key(text).encode(), digest_size=8, key=key).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)
