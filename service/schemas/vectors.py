"""Vectors in bodies: a list of numbers or base64 of little-endian float32, always ending as unit length."""

import base64
import binascii
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_DIMENSION = 8_192


def unit_vector(value: object) -> NDArray[np.float32]:
    """`value` as a vector of unit length.

    Shape:
        returns (D,) float32.
    """
    numbers = _decoded(value) if isinstance(value, str) else _listed(value)
    if not 1 <= len(numbers) <= MAX_DIMENSION:
        message = f"has {len(numbers)} numbers; it must have as many as the collection has dimensions"
        raise PydanticCustomError("invalid_value", message)
    if not np.isfinite(numbers).all():
        raise PydanticCustomError("invalid_value", "must hold finite numbers only")
    peak = np.abs(numbers).max()
    if peak == 0.0:
        raise PydanticCustomError("invalid_value", "has length 0 and so no direction; leave it out")
    scaled = numbers / peak  # the squares of very large and very small numbers leave float64
    unit: NDArray[np.float32] = (scaled / np.linalg.norm(scaled)).astype(np.float32)
    return unit


def shortened(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """The first so many numbers of each vector, of unit length again; a prefix of zeros stays one.

    Shape:
        vectors (n, D); returns (n, dimensions) float32.
    """
    prefixes = np.ascontiguousarray(vectors[:, :dimensions])
    lengths = np.linalg.norm(prefixes, axis=1, keepdims=True)
    unit: NDArray[np.float32] = prefixes / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def to_base64(vectors: NDArray[np.float32]) -> list[str]:
    """Each row as base64 of little-endian float32."""
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in np.ascontiguousarray(vectors, dtype="<f4")]


def from_base64(text: str) -> NDArray[np.float32]:
    """The inverse of `to_base64` for one row."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")


def _decoded(text: str) -> NDArray[np.float64]:
    try:
        return from_base64(text).astype(np.float64)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("invalid_value", "is not base64 of little-endian float32 numbers") from None


def _listed(value: object) -> NDArray[np.float64]:
    if not isinstance(value, list) or not {type(number) for number in value} <= {int, float}:
        raise PydanticCustomError("invalid_value", "must be a list of numbers, or base64 of little-endian float32")
    try:
        return np.asarray(value, dtype=np.float64)
    except OverflowError:
        raise PydanticCustomError("invalid_value", "must hold finite numbers only") from None


Vector = Annotated[
    NDArray[np.float32],
    PlainValidator(unit_vector),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "number"}, "minItems": 1}, {"type": "string", "minLength": 1}]}
    ),
]
