"""Texts that a chain of pairs joins: what the pairs do not call a positive, but what is likely to be one.

Of (a, b) and (b, c) nobody said that c answers a; where the pairs are utterances of one intent, or questions of one
thread, it does, and a batch that takes the one for a negative of the other teaches what is wrong.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infonce.split import components

Ids = NDArray[np.int64]

MAX_SHARE: Final = 0.1
"""Of all in-batch negatives. A file whose pairs hang together in a few large groups (by one positive that answers half
of all queries, say) would lose most of them, or all: there only what the pairs themselves say counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """Which texts belong together, and how many there are of them."""

    of_text: Ids
    """The smallest text of each text's group; (T,)."""
    num: int
    """Connected components of more than one pair."""
    largest: int
    """The pairs of the largest one."""
    share: float
    """Of the couples of two different pairs those of one component: the in-batch negatives that they cost."""

    @property
    def are_used(self) -> bool:
        """Whether the groups are the components; else every text is alone."""
        return self.share <= MAX_SHARE

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"num": self.num, "largest": self.largest, "share": self.share, "used": self.are_used}

    def __str__(self) -> str:
        """In one sentence."""
        said = f"pairs that a chain of shared texts joins form {self.num:,} groups, the largest of {self.largest:,}"
        if self.are_used:
            return f"{said}; none of their texts is a negative of another ({self.share:.2%} of the in-batch negatives)"
        return f"{said}; that would cost {self.share:.0%} of the in-batch negatives, so that only the pairs count"


def groups_of(relation: Ids, *, num_texts: int) -> Groups:
    """The groups of texts are the components of the pairs' graph, unless these cost more than a tenth of the negatives.

    Two pairs drawn at random are both of a component of n out of N with probability n(n - 1) / N(N - 1).

    Shape:
        relation (2, N): text numbers, an anchor and its positive, each pair once.
    """
    of_text, num_pairs = np.arange(num_texts), relation.shape[1]
    found = [places for places in components(list(zip(*relation.tolist(), strict=True))) if len(places) > 1]
    sizes = [len(places) for places in found]
    share = sum(size * (size - 1) for size in sizes) / max(1, num_pairs * (num_pairs - 1))
    groups = Groups(of_text=of_text, num=len(found), largest=max(sizes, default=1), share=share)
    if groups.are_used:
        for places in found:
            texts = relation[:, places]
            of_text[texts] = texts.min()
    return groups
