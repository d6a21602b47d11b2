"""The unit of training data: a text that asks, one that answers, and texts that only look as if they did."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """One training example."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
