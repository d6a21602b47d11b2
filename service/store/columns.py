"""The column types that make SQLite and PostgreSQL hold the same values, and what each of them refuses."""

import json
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from service.store.errors import InvalidValue

MAX_INTEGER = 2**53
"""Beyond it JSON readers round, and beyond 2**63 SQLite and PostgreSQL fail in different ways."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DOUBTFUL = re.compile(r"\\u0000|[0-9]{16}|[\ud800-\udfff]")
"""In JSON text that says what may not be stored: NUL, an integer of 16 digits, a lone surrogate."""


def plain_text(value: str) -> str:
    """The text itself.

    Raises:
        InvalidValue: it holds NUL (SQLite stores it, PostgreSQL refuses it) or a lone surrogate.
    """
    if "\x00" in value:
        raise InvalidValue("A text holds the NUL character, which cannot be stored; remove it")
    try:
        if not value.isascii():
            value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue("A text holds a lone surrogate and is no valid Unicode; remove it") from error
    return value


def bounded(value: int) -> int:
    """The integer itself.

    Raises:
        InvalidValue: it is beyond ±2**53.
    """
    if abs(value) > MAX_INTEGER:
        raise InvalidValue("An integer lies outside ±9007199254740992 and cannot be stored")
    return value


def json_value(value: Any) -> Any:
    """A copy made of dicts, lists and scalars that reads back equal on every backend.

    Raises:
        InvalidValue: it holds what JSON or a backend cannot: NaN, infinity, NUL, a surrogate, a large integer.
    """
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return bounded(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dict | Mapping):  # the first is told at once
        return {plain_text(str(key)): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    raise InvalidValue(f"{value!r} cannot be stored as JSON; numbers must be finite")


def json_text(value: Any) -> str:
    """The value as JSON text, the same bytes for every backend.

    Raises:
        InvalidValue: as `json_value`.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError):  # a mapping that is no dict, or what JSON has no word for
        text = None
    if text is not None and _DOUBTFUL.search(text) is None:  # value by value takes three times as long
        return text
    return _ENCODER.encode(json_value(value))


class PlainText(TypeDecorator[str]):
    """Text without NUL and lone surrogates."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """The text, checked."""
        return None if value is None else plain_text(value)


class Whole(TypeDecorator[int]):
    """An integer within ±2**53."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        """The integer, checked."""
        return None if value is None else bounded(value)


class Json(TypeDecorator[Any]):
    """A JSON value as text: the same bytes on both backends, and the order of keys is kept."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """The value as JSON text, checked."""
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """The value that was stored."""
        return None if value is None else json.loads(value)


class Word(TypeDecorator[StrEnum]):
    """One word of a closed set; no CHECK in the schema, so that a new word needs no migration."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, dialect: sa.Dialect) -> str | None:
        """The word's text, checked."""
        if value is None:
            return None
        if value not in set(self.words):
            raise InvalidValue(f"{value!r} is none of {', '.join(self.words)}")
        return str(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> StrEnum | None:
        """The member of the set."""
        return None if value is None else self.words(value)
