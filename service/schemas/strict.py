"""What every body obeys: strict types, no unknown key, finite numbers, bounded texts."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from infonce.file_limits import DEFAULT_LIMITS
from infonce.jsonl import is_blank

MAX_WHOLE = 2**53
"""The largest whole number that every JSON reader and both databases keep exactly."""

MAX_METADATA_PAIRS = 16

MAX_TEXT_CHARACTERS = DEFAULT_LIMITS.max_text_characters
MAX_DOCUMENT_CHARACTERS = DEFAULT_LIMITS.max_document_characters


class Request(BaseModel):
    """A body that a caller sends: nothing is converted, nothing is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Answer(BaseModel):
    """A body that the gateway sends; a reader of an older version skips what it does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def sentence(message: str, *, code: str = "invalid_value") -> WrapValidator:
    """One sentence instead of one error for each member of a union."""

    def validate(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError(code, message) from None

    return WrapValidator(validate)  # the message is a literal of ours: pydantic fills no braces without a context


def only(default: str) -> WrapValidator:
    """The one value that this version knows; any other is refused by name and never ignored in silence."""
    message = f"only {default} is supported in this version; leave the field out or set it to {default}"

    def validate(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            found = handler(value)
        except ValidationError:
            raise PydanticCustomError("unsupported_value", message) from None
        if type(found) is not type(value):  # a Literal takes 0 and 0.0 for False, and false for 0
            raise PydanticCustomError("unsupported_value", message)
        return found

    return WrapValidator(validate)


Off = Annotated[None, only("null")]
"""A setting whose only supported value is null."""

Auto = Literal["auto"]
Whole = Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]


def _no_whole(value: object) -> object:
    """A whole number beyond 2^53 must not slip in as a rounded float."""
    if isinstance(value, int):
        raise PydanticCustomError("invalid_value", "a whole number must be within ±2^53")
    return value


Fraction = Annotated[float, BeforeValidator(_no_whole)]
"""Beside `Whole` in a union."""
AutoWhole = Annotated[Whole | Auto, sentence('must be a whole number within ±2^53, or "auto"')]
AutoNumber = Annotated[float | Auto, sentence('must be a finite number, or "auto"')]
Name = Annotated[str, Field(min_length=1, max_length=512)]
DocumentId = Annotated[str, Field(min_length=1, max_length=512)]


def without_controls(found: str) -> AfterValidator:
    """A text with none of these control characters."""
    pattern = re.compile(found)

    def check(text: str) -> str:
        if match := pattern.search(text):
            name = "NUL (U+0000)" if match[0] == "\0" else f"the control character U+{ord(match[0]):04X}"
            raise PydanticCustomError("invalid_text", f"{name} is not allowed; remove it")
        return text

    return AfterValidator(check)


MetadataKey = Annotated[str, Field(min_length=1, max_length=64), without_controls(r"[\x00-\x1f\x7f-\x9f]")]
MetadataValue = Annotated[str, Field(max_length=512), without_controls(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")]
"""Lines and tabs are text."""
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_PAIRS)]
"""Up to 16 pairs of strings, as OpenAI has it."""


def bounded_text(limit: int) -> AfterValidator:
    """A text with a visible character and at most `limit` characters."""

    def check(text: str) -> str:
        if len(text) > limit:
            message = f"has {len(text)} characters; the limit is {limit}; shorten or split it"
            raise PydanticCustomError("text_too_long", message)
        if is_blank(text):
            raise PydanticCustomError("empty_text", "has no visible character; give it words or leave it out")
        return text

    return AfterValidator(check)


Text = Annotated[str, bounded_text(MAX_TEXT_CHARACTERS)]
"""A query or a text to embed."""
