"""The one shape of every list."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Generic, Literal, Self, TypeVar

from service.schemas.strict import Answer

Element = TypeVar("Element", bound=Answer)
_id = attrgetter("id")  # every element of a list has one; a Protocol as the bound is beyond pydantic


class Listing(Answer, Generic[Element]):
    """A window of a list; `last_id` is the `after` of the next one."""

    object: Literal["list"] = "list"
    data: list[Element]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None

    @classmethod
    def of(cls, data: Sequence[Element], has_more: bool) -> Self:
        """The window that holds `data`."""
        first, last = (_id(data[0]), _id(data[-1])) if data else (None, None)
        return cls(data=list(data), has_more=has_more, first_id=first, last_id=last)

    @property
    def next_after(self) -> str | None:
        """The `after` of the next window; None at the end of the list."""
        return self.last_id if self.has_more else None
