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
_WIDE: Final = np.dtype(np.float64)
_ROWS: Final = 256  # of a block: at usual dimensions it stays in the processor's cache


class UnitRows:
    """The vectors of one body, brought to unit length many at a time: a call of numpy takes longer than a row of it.

    As the context of a validation it takes in all vectors that come as the first one does, with as many numbers.
    """

    def __init__(self) -> None:
        self._kind: np.dtype[Any] | None = None
        self._num_bytes = 0
        """Of a vector as it comes."""
        self._waiting: list[bytes] = []
        self._unit = np.empty((0, 0), dtype=np.float32)
        self._are_fit = True

    def row(self, value: object) -> NDArray[np.float32] | None:
        """Where the vector will be once all are `filled`; None if it came otherwise than the others.

        Shape:
            returns (D,) float32.
        """
        kind, coded = _coded(value)
        if self._kind is None and 0 < len(coded) <= MAX_DIMENSION * kind.itemsize:
            self._kind, self._num_bytes = kind, len(coded)
        if kind is not self._kind or len(coded) != self._num_bytes:
            return None
        if len(self._waiting) == len(self._unit):
            self.filled()
            self._unit = np.empty((_ROWS, len(coded) // kind.itemsize), dtype=np.float32)
        unit: NDArray[np.float32] = self._unit[len(self._waiting)]
        self._waiting.append(coded)
        return unit

    def filled(self) -> bool:
        """Every row is a vector of unit length; False if one has none: it is all 0, or a number is not finite.

        What comes afterwards needs another call.
        """
        if self._waiting:
            unit = self._unit[: len(self._waiting)]
            unit[:] = _unit(np.frombuffer(b"".join(self._waiting), dtype=self._kind).reshape(unit.shape))
            self._are_fit = self._are_fit and not np.isnan(unit).any()
            self._unit, self._waiting = self._unit[len(unit) :], []
        return self._are_fit


def unit_vector(value: object) -> NDArray[np.float32]:
    """`value` as a vector of unit length.

    Shape:
        returns (D,) float32.
    """
    kind, coded = _coded(value)
    numbers = np.frombuffer(coded, dtype=kind)
    if not 1 <= len(numbers) <= MAX_DIMENSION:
        message = f"has {len(numbers)} numbers; it must have as many as the collection has dimensions"
        raise PydanticCustomError("invalid_value", message)
    if not np.isfinite(numbers).all():
        raise PydanticCustomError("invalid_value", "must hold finite numbers only")
    if not numbers.any():
        raise PydanticCustomError("invalid_value", "has length 0 and so no direction; leave it out")
    unit: NDArray[np.float32] = _unit(numbers[np.newaxis])[0]
    return unit


def _validated(value: object, info: ValidationInfo) -> NDArray[np.float32]:
    """The vector, or the row where it will be."""
    row = info.context.row(value) if isinstance(info.context, UnitRows) else None
    return unit_vector(value) if row is None else row


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Each row at unit length; NaN throughout where it has none.

    Shape:
        rows (n, D); returns (n, D) float32.
    """
    with np.errstate(all="ignore"):
        wide = rows.astype(np.float64)
        wide /= np.abs(wide).max(axis=1, keepdims=True)  # the squares of very large and small numbers leave float64
        unit: NDArray[np.float32] = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
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
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=LITTLE_ENDIAN)


def _coded(value: object) -> tuple[np.dtype[Any], bytes]:
    """The numbers as bytes, and of which kind they are."""
    if not isinstance(value, str):
        return _WIDE, _listed(value).tobytes()
    try:
        coded = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:  # binascii's own error is one
        coded = b"no number"
    if len(coded) % LITTLE_ENDIAN.itemsize:
        raise PydanticCustomError("invalid_value", "is not base64 of little-endian float32 numbers")
    return LITTLE_ENDIAN, coded


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
