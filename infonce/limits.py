"""Checks that every config shares: a value outside its limits is refused with the value, the limits and a remedy."""

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

from infonce.errors import ConfigError

E = TypeVar("E", bound=StrEnum)


def check_range(param: str, value: object, *, low: float, high: float, remedy: str = "") -> None:
    """Raise `ConfigError` unless `low <= value <= high`; NaN never passes."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        hint = f"; {remedy}" if remedy else ""
        raise ConfigError(f"{param} is {value!r}; it must be between {low} and {high}{hint}", param=param)


def check_whole(param: str, value: object, *, low: int, high: int, remedy: str = "") -> None:
    """Raise `ConfigError` unless `value` is a whole number with `low <= value <= high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{param} is {value!r}; it must be a whole number", param=param)
    check_range(param, value, low=low, high=high, remedy=remedy)


def known_keys(kind: type, values: Mapping[str, Any], *, where: str = "") -> None:
    """Raise `ConfigError` if `values` has a key that the dataclass `kind` does not know."""
    known = sorted(field.name for field in fields(kind))
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}{key} is not a setting; known are {', '.join(known)}", param=f"{where}{key}")


def member(kind: type[E], param: str, *, value: object) -> E:
    """The member of that value; raise `ConfigError` if there is none."""
    try:
        return kind(str(value))
    except ValueError:
        allowed = ", ".join(item.value for item in kind)
        raise ConfigError(f"{param} is {value!r}; it must be one of {allowed}", param=param) from None
