"""Filters of documents in bodies: OpenAI's grammar of comparisons and compounds, as the library's filters."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from infonce import filters as library
from infonce.filters import Comparator, Joint
from service.schemas.strict import Fraction, Request, Whole, sentence

MAX_DEPTH: Final = 8
MAX_COMPARISONS: Final = 100
MAX_VALUES: Final = 1_000
"""Of one `in`."""

Joining = Literal["and", "or", "not"]
Comparing = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists"]
_Scalar = Annotated[str, Field(max_length=4_096)] | bool | Whole | Fraction | None


class DocumentFilter(Request):
    """A comparison of a metadata key with a value, or `filters` of which all (and), one (or) or none (not) hold.

    `in` and `nin` take a list of values, `exists` true (the default) or false, an order a text or a number.
    """

    type: Comparing | Joining
    key: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    value: Annotated[
        _Scalar | Annotated[list[_Scalar], Field(max_length=MAX_VALUES)],
        sentence(
            "must be a text, a finite number, a whole one within ±2^53, true, false, null, or a list of at most "
            f"{MAX_VALUES} of these"
        ),
    ] = None
    filters: Annotated[list["DocumentFilter"], Field(min_length=1, max_length=MAX_COMPARISONS)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = self.model_fields_set
        if self.type in ("and", "or", "not"):
            _require("filters" in given and not given & {"key", "value"}, f"{self.type} takes filters and nothing else")
            return self
        _require("filters" not in given and self.key is not None, f"{self.type} takes a key and no filters")
        _require(self.type == "exists" or "value" in given, f"{self.type} takes a value")
        fits, what = _fits(self.type, self.value, given="value" in given)
        _require(fits, f"the value of {self.type} must be {what}")
        return self

    def to_library(self) -> library.Filter:
        """The filter as the library evaluates it."""
        if self.filters is not None:
            return library.Joined(joint=Joint(self.type), parts=[part.to_library() for part in self.filters])
        assert self.key is not None, "the body was checked"
        value = True if self.type == "exists" and "value" not in self.model_fields_set else self.value
        return library.Condition(comparator=Comparator(self.type), key=self.key, value=value)


def _fits(type: str, value: Any, *, given: bool) -> tuple[bool, str]:
    if type in ("in", "nin"):
        return isinstance(value, list) and bool(value), "a list with at least one value"
    if type == "exists":
        return isinstance(value, bool) or not given, "true or false"
    if type in ("eq", "ne"):
        return not isinstance(value, list), "one value; for several there are in and nin"
    return isinstance(value, str | int | float) and not isinstance(value, bool), "a text or a number"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PydanticCustomError("invalid_value", message)


def _bounded(asked: DocumentFilter) -> DocumentFilter:
    """A filter costs a pass over the documents a comparison."""
    _require(_depth(asked) <= MAX_DEPTH, f"is nested deeper than {MAX_DEPTH}; flatten it")
    _require(_size(asked) <= MAX_COMPARISONS, f"has more than {MAX_COMPARISONS} comparisons; use in, or ask twice")
    return asked


def _depth(asked: DocumentFilter) -> int:
    return 1 + max(map(_depth, asked.filters)) if asked.filters else 1


def _size(asked: DocumentFilter) -> int:
    return sum(map(_size, asked.filters)) if asked.filters else 1


BoundedFilter = Annotated[DocumentFilter, AfterValidator(_bounded)]
