"""Vectors in bodies: a list of numbers or base64 of little-endian float32, always ending as unit length."""

import base64
import binascii
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_DIMENSION = 8_192
LITTLE_ENDIAN: Final = np.dtype("<f4")
"""Of float32 in bodies and in the database."""
_ROWS: Final = 256  # of a block: at usual dimensions it stays in the processor's cache


class UnitRows:
    """The vectors of one body, brought to unit length many at a time: a call of numpy takes longer than a row of it.

    Given as the context of a validation, it takes in all vectors that have as many numbers as the first one.
    """

    def __init__(self) -> None:
        self._numbers = np.empty((0, 0), dtype=np.float64)
        self._unit = np.empty((0, 0), dtype=np.float32)
        self._count = self._num_filled = 0
        self._are_fit = True

    def row(self, numbers: NDArray[Any]) -> NDArray[np.float32] | None:
        """Where the vector will be once all are `filled`; None if it has another dimension than the others.

        Shape:
            numbers (D,); returns (D,) float32.
        """
        if self._count == len(self._unit):
            self.filled()
            shape = (_ROWS, len(numbers))
            self._numbers, self._unit = np.empty(shape), np.empty(shape, dtype=np.float32)
            self._count = self._num_filled = 0
        if len(numbers) != self._unit.shape[1]:
            return None
        self._numbers[self._count] = numbers
        self._count += 1
        unit: NDArray[np.float32] = self._unit[self._count - 1]
        return unit

    def filled(self) -> bool:
        """Every row is a vector of unit length; False if one has none: it is all 0, or a number is not finite."""
        new = slice(self._num_filled, self._count)
        if self._num_filled < self._count:
            self._unit[new] = _unit(self._numbers[new])
            self._are_fit = self._are_fit and not np.isnan(self._unit[new]).any()
            self._num_filled = self._count
        return self._are_fit


def unit_vector(value: object) -> NDArray[np.float32]:
    """`value` as a vector of unit length.

    Shape:
        returns (D,) float32.
    """
    numbers = _numbers(value)
    if not np.isfinite(numbers).all():
        raise PydanticCustomError("invalid_value", "must hold finite numbers only")
    if not numbers.any():
        raise PydanticCustomError("invalid_value", "has length 0 and so no direction; leave it out")
    [unit] = _unit(numbers[np.newaxis].astype(np.float64))
    return unit


def _validated(value: object, info: ValidationInfo) -> NDArray[np.float32]:
    """The vector, or the row where it will be."""
    if not isinstance(info.context, UnitRows):
        return unit_vector(value)
    row = info.context.row(_numbers(value))
    return unit_vector(value) if row is None else row


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each row at unit length; NaN throughout where it has none.

    Shape:
        rows (n, D); returns (n, D) float32.
    """
    with np.errstate(all="ignore"):
        scaled = rows / np.abs(rows).max(axis=1, keepdims=True)  # squares of very large and small numbers leave float64
        unit: NDArray[np.float32] = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
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
    return np.frombuffer(binascii.a2b_base64(text, strict_mode=True), dtype=LITTLE_ENDIAN)


def _numbers(value: object) -> NDArray[np.float32] | NDArray[np.float64]:
    numbers = _decoded(value) if isinstance(value, str) else _listed(value)
    if not 1 <= len(numbers) <= MAX_DIMENSION:
        message = f"has {len(numbers)} numbers; it must have as many as the collection has dimensions"
        raise PydanticCustomError("invalid_value", message)
    return numbers


def _decoded(text: str) -> NDArray[np.float32]:
    try:
        return from_base64(text)
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
    PlainValidator(_validated),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "number"}, "minItems": 1}, {"type": "string", "minLength": 1}]}
    ),
]
