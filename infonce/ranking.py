"""The best of many scores, in an order that nothing but the scores and their places decides."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def highest(scores: NDArray[np.floating[Any]], count: int) -> NDArray[np.int64]:
    """The places of the `count` highest scores, or of all where there are fewer, best first; equal ones by place.

    Sorting all would take 20 ms for the 200,000 documents that may stand beside an index of a million.

    Shape:
        scores (m,), count ≥ 1; returns (min(count, m),).
    """
    places = np.arange(len(scores))
    if len(scores) > count:
        places = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    return places[np.argsort(-scores[places], kind="stable")[:count]]
