"""Which pairs share a batch, and which of a batch's candidates are known to be right.

The order is stateless: the pairs of batch *t* are a function of (seed, epoch, t), so a run can go on at any step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from infonce.config import Prompts
from infonce.pairs import Pair

Ids = NDArray[np.int64]


def num_batches(num_pairs: int, batch_size: int) -> int:
    """How many batches an epoch has."""
    return math.ceil(num_pairs / batch_size)


def batch_rows(num_pairs: int, batch_size: int, *, seed: int, epoch: int, batch: int) -> Ids:
    """The pairs of one batch of one epoch.

    Every pair comes once an epoch. No batch is short: the pairs are spread so that sizes differ by at most one,
    because a remainder of three pairs would have three candidates and a gradient unlike all others.
    """
    count = num_batches(num_pairs, batch_size)
    return _order(num_pairs, seed=seed, epoch=epoch)[batch * num_pairs // count : (batch + 1) * num_pairs // count]


@lru_cache(maxsize=1)
def _order(num_pairs: int, *, seed: int, epoch: int) -> Ids:
    return np.random.default_rng([seed, epoch]).permutation(num_pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The pairs of one step, as positions in the list of its distinct rows.

    Shape:
        rows (U,): rows of `PairTable.rows` to encode, each once · anchors (B,), positives (B,), negatives (M,):
        positions in `rows` · also_positive (B, B + M): candidates that must not count as negatives of an anchor.
    """

    rows: Ids
    anchors: Ids
    positives: Ids
    negatives: Ids
    also_positive: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairTable:
    """All pairs with every distinct text held once.

    A *row* is a text with the prompt of its side, as it will be tokenised; two rows may share one *text*.
    """

    rows: list[str]
    row_texts: Ids  # (R,) row -> text number
    anchors: Ids  # (N,) rows
    positives: Ids  # (N,) rows
    negatives: Ids  # (sum of negatives,) rows
    negative_offsets: Ids  # (N + 1,)
    relation: Ids  # (2, K) text numbers: anchor, a known positive of it; sorted by anchor

    @classmethod
    def build(cls, pairs: Sequence[Pair], *, prompts: Prompts, max_negatives: int) -> Self:
        """Number the texts of `pairs`; at most `max_negatives` negatives of a pair are taken, in their order."""
        texts: dict[str, int] = {}
        rows: dict[str, int] = {}
        row_texts: list[int] = []

        def row(prompt: str, text: str) -> int:
            number = rows.setdefault(prompt + text, len(rows))
            if number == len(row_texts):
                row_texts.append(texts.setdefault(text, len(texts)))
            return number

        anchors = np.array([row(prompts.query, pair.anchor) for pair in pairs], dtype=np.int64)
        positives = np.array([row(prompts.document, pair.positive) for pair in pairs], dtype=np.int64)
        chosen = [pair.negatives[:max_negatives] for pair in pairs]
        negatives = np.array([row(prompts.document, text) for many in chosen for text in many], dtype=np.int64)
        known = np.array(row_texts, dtype=np.int64)
        return cls(
            rows=list(rows),
            row_texts=known,
            anchors=anchors,
            positives=positives,
            negatives=negatives,
            negative_offsets=np.cumsum([0] + [len(many) for many in chosen], dtype=np.int64),
            relation=np.unique(np.stack([known[anchors], known[positives]]), axis=1),
        )

    def __len__(self) -> int:
        return len(self.anchors)

    def batch(self, pairs: Ids) -> Batch:
        """The step over `pairs`: each distinct row once; a negative that is a positive of the batch is one already."""
        anchors, positives = self.anchors[pairs], self.positives[pairs]
        given = np.concatenate([self._negatives_of(pair) for pair in pairs])
        negatives = np.setdiff1d(given, positives)  # as a second column it would weigh twice in every softmax
        rows, inverse = np.unique(np.concatenate([anchors, positives, negatives]), return_inverse=True)
        size = len(pairs)
        return Batch(
            rows=rows,
            anchors=inverse[:size],
            positives=inverse[size : 2 * size],
            negatives=inverse[2 * size :],
            also_positive=self._also_positive(anchors, np.concatenate([positives, negatives])),
        )

    def _negatives_of(self, pair: int) -> Ids:
        return self.negatives[self.negative_offsets[pair] : self.negative_offsets[pair + 1]]

    def _also_positive(self, anchors: Ids, candidates: Ids) -> NDArray[np.bool_]:
        """Which candidates are a known positive of an anchor, or the anchor itself, anywhere in the data; (B, C).

        The pair's own positive is left unmarked: it is the label.
        """
        asked, offered = self.row_texts[anchors], self.row_texts[candidates]
        order = np.argsort(offered, kind="stable")
        mask = np.zeros((len(anchors), len(candidates)), dtype=np.bool_)
        for index, anchor in enumerate(asked):
            first, last = np.searchsorted(self.relation[0], [anchor, anchor + 1])
            right = np.append(self.relation[1, first:last], anchor)
            low = np.searchsorted(offered, right, "left", sorter=order)
            high = np.searchsorted(offered, right, "right", sorter=order)
            for start, end in zip(low, high, strict=True):
                mask[index, order[start:end]] = True
        own = np.arange(len(anchors))
        mask[own, own] = False
        return mask
