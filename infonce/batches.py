"""Which pairs share a batch, and which of a batch's candidates are known to be right.

The order is stateless: the pairs of batch *t* are a function of (seed, epoch, t), so a run can go on at any step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from infonce.config import Prompts
from infonce.groups import Groups, groups_of
from infonce.loss_config import LossConfig, Negatives
from infonce.pairs import Pair

Ids = NDArray[np.int64]

_DEFAULT_LOSS = LossConfig()
_NO_VIEWS: Ids = np.empty((0, 0), dtype=np.int64)
_NONE_GIVEN: Ids = np.empty((2, 0), dtype=np.int64)


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
        rows (U,): rows of `PairTable.rows` to encode, each once in a view · anchors (B,), positives (B,), negatives
        (M,), or (B, M) when paired: positions in `rows` · views (V, B): the same, where the loss is one of views ·
        anchor_texts (B,), candidate_texts (C,): text numbers · also_positive (2, K): row and column of every
        candidate that must not count as a negative, sorted; of (B, B + M), or of (V·B, V·B) for views.
    """

    rows: Ids
    anchors: Ids
    positives: Ids
    negatives: Ids
    views: Ids
    anchor_texts: Ids
    candidate_texts: Ids
    also_positive: Ids


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
    groups: Groups  # of text numbers; no text is a negative of another one of its group

    @classmethod
    def build(
        cls, pairs: Sequence[Pair], *, prompts: Prompts, max_negatives: int, documents: Sequence[str] = ()
    ) -> Self:
        """Number the texts of `pairs`; at most `max_negatives` negatives of a pair are taken, in their order.

        `documents` are texts that may become negatives later: they have rows.
        """
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
        for text in documents:
            row(prompts.document, text)
        known = np.array(row_texts, dtype=np.int64)
        relation = np.unique(np.stack([known[anchors], known[positives]]), axis=1)
        return cls(
            rows=list(rows),
            row_texts=known,
            anchors=anchors,
            positives=positives,
            negatives=negatives,
            negative_offsets=np.cumsum([0] + [len(many) for many in chosen], dtype=np.int64),
            relation=relation,
            groups=groups_of(relation, num_texts=len(texts)),
        )

    def __len__(self) -> int:
        return len(self.anchors)

    def without(self, *, anchors: NDArray[np.bool_], documents: NDArray[np.bool_]) -> Self:
        """The table without the pairs whose anchor or positive is one of these rows, and without such negatives.

        Shape:
            anchors (R,), documents (R,): which rows to leave out, on that side.
        """
        kept = ~(anchors[self.anchors] | documents[self.positives])  # (N,)
        pair_of = np.repeat(np.arange(len(self)), np.diff(self.negative_offsets))
        wanted = kept[pair_of] & ~documents[self.negatives]
        counts = np.bincount(pair_of[wanted], minlength=len(self))[kept]
        return replace(
            self,
            anchors=self.anchors[kept],
            positives=self.positives[kept],
            negatives=self.negatives[wanted],
            negative_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def with_negatives(self, negatives: Ids, *, offsets: Ids) -> Self:
        """The table with these negatives instead of its own.

        Shape:
            negatives (M,) rows; offsets (N + 1,): where the negatives of each pair begin.
        """
        return replace(self, negatives=negatives, negative_offsets=offsets)

    def batch(self, pairs: Ids, *, loss: LossConfig = _DEFAULT_LOSS) -> Batch:
        """The step over `pairs`, with the candidates that the loss asks for."""
        anchors, positives = self.anchors[pairs], self.positives[pairs]
        if loss.num_views is not None:
            return self._views(anchors, positives, num_views=loss.num_views)
        if loss.negatives is Negatives.PAIRED:
            return self._paired(pairs)
        given = [self._negatives_of(pair) for pair in pairs]
        negatives = np.unique(np.concatenate(given))
        if loss.negatives is Negatives.SHARED:  # one that is a positive of the batch is a candidate already
            negatives = np.setdiff1d(negatives, positives)  # and would weigh twice in every softmax
        return self._numbered(anchors, positives, negatives=negatives, given=given)

    def known(self, anchors: Ids, candidates: Ids, *, given: Ids = _NONE_GIVEN) -> Ids:
        """Which candidates are a known positive of an anchor anywhere in the data, the anchor itself, or of its group.

        A negative that was `given` for the anchor is one, unless a pair says otherwise.

        Shape:
            anchors (A,), candidates (C,): text numbers; given (2, G) and returns (2, K): anchor and candidate, sorted.
        """
        first = np.searchsorted(self.relation[0], anchors)
        counts = np.searchsorted(self.relation[0], anchors, "right") - first
        asked = np.concatenate([np.arange(len(anchors)), np.repeat(np.arange(len(anchors)), counts)])
        right = np.concatenate([anchors, self.relation[1, _ranges(first, counts)]])
        rows, columns = _joined(right, candidates)
        said = asked[rows] * len(candidates) + columns
        rows, columns = _joined(self.groups.of_text[anchors], self.groups.of_text[candidates])
        likely = np.setdiff1d(rows * len(candidates) + columns, given[0] * len(candidates) + given[1])
        return np.stack(np.divmod(np.union1d(said, likely), max(1, len(candidates))))

    def _negatives_of(self, pair: int) -> Ids:
        return self.negatives[self.negative_offsets[pair] : self.negative_offsets[pair + 1]]

    def _numbered(self, anchors: Ids, positives: Ids, *, negatives: Ids, given: Sequence[Ids]) -> Batch:
        """The batch of these rows, all negatives open to all anchors; each anchor was given some of them."""
        size = len(anchors)
        candidates = np.concatenate([positives, negatives])
        rows, places = np.unique(np.concatenate([anchors, candidates]), return_inverse=True)
        asked = np.repeat(np.arange(size), [len(own) for own in given])
        places_given, columns = _joined(np.concatenate(given), negatives)
        own = np.stack([asked[places_given], columns + size])
        known = self.known(self.row_texts[anchors], self.row_texts[candidates], given=own)
        return Batch(
            rows=rows,
            anchors=places[:size],
            positives=places[size : 2 * size],
            negatives=places[2 * size :],
            views=_NO_VIEWS,
            anchor_texts=self.row_texts[anchors],
            candidate_texts=self.row_texts[candidates],
            also_positive=known[:, known[0] != known[1]],  # the label of a row stands at its own number
        )

    def _paired(self, pairs: Ids) -> Batch:
        """The batch in which each anchor has its own negatives; what fills up shorter rows is masked."""
        counts = np.diff(self.negative_offsets)[pairs]
        filled = np.arange(counts.max(initial=0)) < counts[:, None]  # (B, M)
        own = np.broadcast_to(self.positives[pairs][:, None], filled.shape).copy()
        given = [self._negatives_of(pair) for pair in pairs]
        own[filled] = np.concatenate(given)
        distinct = np.unique(own[filled])
        batch = self._numbered(self.anchors[pairs], self.positives[pairs], negatives=distinct, given=given)
        asked = np.broadcast_to(batch.anchor_texts[:, None], own.shape)
        row, column = np.nonzero(~filled | self._is_known(asked, self.row_texts[own]))
        known = batch.also_positive[:, batch.also_positive[1] < len(pairs)]  # among the positives
        both = np.concatenate([known, [row, column + len(pairs)]], axis=1)
        return replace(
            batch,
            negatives=np.searchsorted(batch.rows, own),
            also_positive=both[:, np.lexsort((both[1], both[0]))],
        )

    def _is_known(self, anchors: Ids, candidates: Ids) -> NDArray[np.bool_]:
        """For each of these text numbers side by side, whether the one answers the other; any shape."""
        num_texts = int(self.row_texts.max()) + 1
        related = self.relation[0] * num_texts + self.relation[1]  # sorted, as the relation is
        asked = anchors * num_texts + candidates
        found = related[np.minimum(np.searchsorted(related, asked), len(related) - 1)]
        known: NDArray[np.bool_] = (found == asked) | (anchors == candidates)
        return known

    def _views(self, anchors: Ids, positives: Ids, *, num_views: int) -> Batch:
        """The batch as views of things: anchor, positive, anchor again, …, each encoded on its own.

        Two things are no negatives of each other if a text of the one is a text of the other, or answers it.
        """
        rows: list[Ids] = []
        views: list[Ids] = []
        for view in range(num_views):
            distinct, places = np.unique(positives if view % 2 else anchors, return_inverse=True)
            views.append(places + sum(len(part) for part in rows))
            rows.append(distinct)
        asked, offered = self.row_texts[anchors], self.row_texts[positives]
        texts = np.concatenate([asked, offered])
        related = self.known(texts, texts) % len(anchors)
        things = np.unique(np.concatenate([related, related[::-1]], axis=1), axis=1)  # (2, K)
        things = things[:, things[0] != things[1]]
        shifts = np.indices((num_views, num_views)).reshape(2, -1) * len(anchors)  # (2, V·V)
        known = (things[:, None, :] + shifts[:, :, None]).reshape(2, -1)
        return Batch(
            rows=np.concatenate(rows),
            anchors=views[0],
            positives=views[1],
            negatives=np.empty(0, dtype=np.int64),
            views=np.stack(views),
            anchor_texts=asked,
            candidate_texts=offered,
            also_positive=known[:, np.lexsort((known[1], known[0]))],
        )


def _joined(left: Ids, right: Ids) -> tuple[Ids, Ids]:
    """The places of all equal numbers, one of each side."""
    order = np.argsort(right, kind="stable")
    low = np.searchsorted(right, left, sorter=order)
    counts = np.searchsorted(right, left, "right", sorter=order) - low
    return np.repeat(np.arange(len(left)), counts), order[_ranges(low, counts)]


def _ranges(starts: Ids, counts: Ids) -> Ids:
    """`counts[i]` numbers from `starts[i]` on, one range after another."""
    before = np.cumsum(counts) - counts
    places: Ids = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return places
