"""What a filter of documents says: comparisons of metadata, joined by and, or, not; knows no FAISS.

A metadata value is a text, a number, a bool, null or a list of these. A list compares as its items do: one that fits
is enough. Values of different kinds are never equal and never in an order, so that true is not 1 and "2" not 2.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Scalar = str | int | float | bool | None


class Comparator(StrEnum):
    """How a metadata value is compared; the names are OpenAI's."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NIN = "nin"
    EXISTS = "exists"


class Joint(StrEnum):
    """How filters are joined."""

    AND = "and"
    OR = "or"
    NOT = "not"


NEGATIONS: Final[Mapping[Comparator, Comparator]] = {Comparator.NE: Comparator.EQ, Comparator.NIN: Comparator.IN}
"""These hold where their opposite does not: for a document without the key as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One metadata key against a value; a list of values for `in` and `nin`, true or false for `exists`."""

    comparator: Comparator
    key: str
    value: Scalar | Sequence[Scalar]


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """Filters of which all, one or none hold."""

    joint: Joint
    parts: Sequence["Filter"]


Filter = Condition | Joined


def keys_of(asked: Filter) -> Iterator[str]:
    """Every metadata key that the filter names."""
    if isinstance(asked, Condition):
        yield asked.key
        return
    for part in asked.parts:
        yield from keys_of(part)


def accepts(comparison: Condition) -> Callable[[Scalar], bool]:
    """Whether one value passes a comparison that is no negation and not `exists`."""
    wanted = comparison.value
    if comparison.comparator is Comparator.IN:
        assert isinstance(wanted, Sequence) and not isinstance(wanted, str), "the edge checked it"
        tagged = {tag(one) for one in wanted}
        return lambda value: tag(value) in tagged
    assert not isinstance(wanted, Sequence) or isinstance(wanted, str), "the edge checked it"
    if comparison.comparator is Comparator.EQ:
        same = tag(wanted)
        return lambda value: tag(value) == same
    order = _ORDERS[comparison.comparator]
    kind = tag(wanted)[0]
    return lambda value: tag(value)[0] == kind != "null" and order(value, wanted)


def tag(value: Scalar) -> tuple[str, Scalar]:
    """The value with its kind, so that equal tags mean equal values of one kind."""
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "bool"), value
    return ("text" if isinstance(value, str) else "number"), value


_ORDERS: Final[Mapping[Comparator, Callable[[Any, Any], bool]]] = {
    Comparator.GT: lambda value, bound: value > bound,
    Comparator.GTE: lambda value, bound: value >= bound,
    Comparator.LT: lambda value, bound: value < bound,
    Comparator.LTE: lambda value, bound: value <= bound,
}
