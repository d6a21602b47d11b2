"""Metadata outside of JSON bodies: `metadata[key]` in query strings and forms, or one field of JSON in a form."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import pydantic_core

from service.bodies import validated
from service.errors import InvalidInput, Place
from service.schemas.strict import MAX_METADATA_PAIRS, Metadata, Request

METADATA_FIELD: Final = "metadata"
"""The form's field that holds a JSON object."""

METADATA_BYTES: Final = 128 << 10
"""Of that field: the longest pairs, each character escaped."""

PAIR_BYTES: Final = 16 << 10
"""Of a field that holds one value, which may have 512 characters: who sends some more is told so."""

METADATA_PROPERTY: Final = {
    "type": "string",
    "description": "a JSON object of up to 16 strings; or a field for each of them, called `metadata[key]`",
}
"""What the OpenAPI document says of the field."""

METADATA_QUERY: Final = {
    "parameters": [
        {
            "name": METADATA_FIELD,
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "`metadata[key]=value`, for each pair that the elements must have",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16},
        }
    ]
}
"""What it says of a list."""

_PAIR = re.compile(r"metadata\[(.*)\]", re.DOTALL)


class _Given(Request):
    metadata: Metadata | None


def key_of(name: str) -> str | None:
    """The key that the parameter, or the field, of that name is about; None where it is about none."""
    match = _PAIR.fullmatch(name)
    return None if match is None else match[1]


def refuse_many(names: Iterable[str]) -> None:
    """Raise `InvalidInput` where one more field for a key would be one too many."""
    if sum(key_of(name) is not None for name in names) >= MAX_METADATA_PAIRS:
        raise _refused(METADATA_FIELD, f"has more than {MAX_METADATA_PAIRS} pairs; send fewer")


def of_query(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What elements of a list must have; the other parameters are no matter of ours.

    Raises:
        InvalidInput: nothing can have such metadata, or it is no `metadata[key]=value`.
    """
    found: dict[str, str] = {}
    for name, value in parameters:
        if name.partition("[")[0] == METADATA_FIELD:
            found[_flat_key(name)] = value
    return _checked(found) if found else {}


def of_form(fields: Mapping[str, bytes]) -> dict[str, str]:
    """The metadata of a form, whose fields came so.

    Raises:
        InvalidInput: it is no metadata, or given in both ways.
    """
    pairs = {_flat_key(name): value for name, value in fields.items() if key_of(name) is not None}
    whole = fields.get(METADATA_FIELD)
    if whole is None:
        return _checked({key: _text(key, value) for key, value in pairs.items()})
    if pairs:
        raise _refused(METADATA_FIELD, f"is given as JSON and as {METADATA_FIELD}[…]; keep one of them")
    try:
        said = pydantic_core.from_json(whole)
    except ValueError as error:
        raise _refused(METADATA_FIELD, f"is not valid JSON: {error}", code="invalid_json") from None
    return _checked(said)


def _checked(metadata: object) -> dict[str, str]:
    return validated(_Given, {METADATA_FIELD: metadata}).metadata or {}


def _flat_key(name: str) -> str:
    key = key_of(name)
    if key is None:
        raise _refused(METADATA_FIELD, f"is given as {name[:100]!r}; write {METADATA_FIELD}[key]=value")
    if "][" in key:  # what clients make of objects and lists; a key may hold brackets in JSON alone
        raise _refused(METADATA_FIELD, f"is given as {name[:100]!r}; a value is a string, without anything in it")
    return key


def _text(key: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"{METADATA_FIELD}.{key[:100]}", f"is not UTF-8 at byte offset {error.start}") from None


def _refused(param: str, what: str, *, code: str = "invalid_value") -> InvalidInput:
    place = Place(code=code, pointer="/" + param.replace(".", "/"), detail=f"{param} {what}")
    return InvalidInput([place], param=param)
