"""Texts that a chain of pairs joins: what the pairs do not call a positive, but what is likely to be one.

Of (a, b) and (b, c) nobody said that c answers a; where the pairs are utterances of one intent, or questions of one
thread, it does, and a batch that takes the one for a negative of the other teaches what is wrong.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from infonce.split import components

Ids = NDArray[np.int64]

MAX_LOST: Final = 0.1
"""Of all in-batch negatives. A file whose pairs hang together in a few large groups (by one positive that answers half
of all queries, say) would lose most of them, or all: there only what the pairs themselves say counts."""


def groups_of(relation: Ids, *, num_texts: int) -> Ids:
    """The group of each text: its connected component, or the text alone.

    Two pairs drawn at random share a component of share s with probability s²: the sum over all components is the part
    of the in-batch negatives that is given up. Above a tenth every text is alone.

    Shape:
        relation (2, K): text numbers, an anchor and its positive · returns (num_texts,): the smallest text of a group.
    """
    groups = np.arange(num_texts)
    num_pairs = relation.shape[1]
    found = components(list(zip(*relation.tolist(), strict=True)))
    if sum((len(places) / num_pairs) ** 2 for places in found) > MAX_LOST:
        return groups
    for places in found:
        if len(places) > 1:  # of one pair alone everything is known
            texts = relation[:, places]
            groups[texts] = texts.min()
    return groups
