"""Documents' metadata in columns, so that a filter becomes a mask over rows in a millisecond; knows no FAISS.

For each key the rows that have it, and for each of these the number of its value among the key's distinct values.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.filters import NEGATIONS, Comparator, Condition, Filter, Joined, Joint, Scalar, accepts, tag

Mask = NDArray[np.bool_]

_NAMES: Final = "names"
_LOOKED_AT: Final = 4_096


@dataclass(frozen=True)
class Column:
    """One key: `rows[i]` has the value `values[codes[i]]`; a list gives its row several entries, or none if empty."""

    values: Sequence[Scalar]
    rows: NDArray[np.int32]
    codes: NDArray[np.int32]

    @cached_property
    def codes_of(self) -> Mapping[tuple[str, Scalar], int]:
        """The numbers of the values, each with its kind."""
        return {tag(value): code for code, value in enumerate(self.values)}

    def passing(self, comparison: Condition) -> NDArray[np.int32]:
        """The rows that have a value which passes; the comparison is no negation."""
        fits = np.zeros(len(self.values), dtype=np.bool_)
        if comparison.comparator in (Comparator.EQ, Comparator.IN):
            wanted: Any = comparison.value if comparison.comparator is Comparator.IN else [comparison.value]
            fits[[self.codes_of[tag(one)] for one in wanted if tag(one) in self.codes_of]] = True
        elif comparison.comparator is Comparator.EXISTS:
            fits[:] = [value is not None for value in self.values]
        else:
            passes = accepts(comparison)
            fits[:] = [passes(value) for value in self.values]
        return self.rows[fits[self.codes]]


_NOTHING: Final = Column([], np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32))


class _Growing:
    """A column that gets further entries, while the one that it began as stays as it is."""

    def __init__(self, begun: Column) -> None:
        self._begun = begun
        self._codes_of = dict(begun.codes_of)
        self._rows: list[int] = []
        self._codes: list[int] = []

    def add(self, row: int, value: Scalar) -> None:
        """The row has the value, perhaps beside others."""
        self._rows.append(row)
        self._codes.append(self._codes_of.setdefault(tag(value), len(self._codes_of)))

    def column(self) -> Column:
        """As it is now."""
        rows = np.concatenate([self._begun.rows, np.array(self._rows, dtype=np.int32)])
        codes = np.concatenate([self._begun.codes, np.array(self._codes, dtype=np.int32)])
        made = Column([value for _, value in self._codes_of], rows, codes)
        vars(made)["codes_of"] = self._codes_of  # to make it again would take longest of all
        return made


@dataclass(frozen=True, slots=True)
class Columns:
    """The metadata of so many documents."""

    count: int
    by_key: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def build(cls, metadata: Sequence[Mapping[str, Any]]) -> Self:
        """The columns of documents in the order of their rows."""
        return cls(0).extended(metadata)

    def extended(self, metadata: Sequence[Mapping[str, Any]]) -> Self:
        """The columns of these documents and then of those, which cost as much as they alone would, and copies."""
        grown: dict[str, _Growing] = {}
        for row, one in enumerate(metadata, start=self.count):
            for key, value in one.items():
                column = grown.get(key)
                if column is None:
                    column = grown[key] = _Growing(self.by_key.get(key, _NOTHING))
                for item in value if isinstance(value, list) else (value,):
                    column.add(row, item)
        return type(self)(
            self.count + len(metadata), {**self.by_key, **{key: one.column() for key, one in grown.items()}}
        )

    def has(self, key: str, *, among: Mask) -> bool:
        """Whether one of these documents has the key; one with an empty list under it may, as far as is known.

        Shape:
            among (count,) bool.
        """
        column = self.by_key.get(key)
        if column is None:
            return False
        blocks = range(0, len(column.rows), _LOOKED_AT)  # nearly always the first one has one
        return not len(column.rows) or any(among[column.rows[at : at + _LOOKED_AT]].any() for at in blocks)

    def mask(self, asked: Filter) -> Mask:
        """Which documents pass the filter.

        Shape:
            returns (count,) bool.
        """
        if isinstance(asked, Joined):
            if asked.joint is Joint.NOT:
                return ~self._any(asked.parts)
            return self._any(asked.parts) if asked.joint is Joint.OR else self._all(asked.parts)
        if asked.comparator in NEGATIONS:
            opposite = Condition(comparator=NEGATIONS[asked.comparator], key=asked.key, value=asked.value)
            return ~self.mask(opposite)
        found = np.zeros(self.count, dtype=np.bool_)
        column = self.by_key.get(asked.key)
        if column is not None:
            found[column.passing(asked)] = True
        return ~found if asked.comparator is Comparator.EXISTS and asked.value is False else found

    def _all(self, parts: Sequence[Filter]) -> Mask:
        return reduce(np.logical_and, map(self.mask, parts), np.ones(self.count, dtype=np.bool_))

    def _any(self, parts: Sequence[Filter]) -> Mask:
        return reduce(np.logical_or, map(self.mask, parts), np.zeros(self.count, dtype=np.bool_))

    def save(self, path: Path) -> None:
        """The columns stand in the file, an uncompressed npz without pickles."""
        names = {key: f"{place}" for place, key in enumerate(self.by_key)}
        told = {"count": self.count, "keys": list(names), "values": [list(one.values) for one in self.by_key.values()]}
        arrays: dict[str, NDArray[Any]] = {_NAMES: np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)}
        for key, name in names.items():
            arrays |= {f"rows{name}": self.by_key[key].rows, f"codes{name}": self.by_key[key].codes}
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The columns of a file whose checksum is right.

        Raises:
            ValueError, KeyError, OSError: it is not such a file.
        """
        with np.load(path, allow_pickle=False) as arrays:
            told = json.loads(arrays[_NAMES].tobytes())
            made = {
                key: Column(values, arrays[f"rows{place}"], arrays[f"codes{place}"])
                for place, (key, values) in enumerate(zip(told["keys"], told["values"], strict=True))
            }
        return cls(told["count"], made)
