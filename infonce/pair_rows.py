"""Pairs out of rows, whatever file the rows came from; what is broken is counted, nothing is cut."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Protocol

from infonce.dialects import OURS, Dialect, dialect_of
from infonce.jsonl import IssueLog, Row, json_type
from infonce.pairs import Pair

_MAX_REMEMBERED: Final = 1_000  # sets of field names; a hostile file has another one in each line
_MAX_SET_CHARACTERS: Final = 8_192  # of a set that is remembered; a hostile name may be as long as its line
_MAX_NAME_CHARACTERS: Final = 100  # of an ignored name, as it is told


class PairRows(Protocol):
    """Where rows come from."""

    @property
    def empty_lines(self) -> int:
        """How many were passed over so far."""

    @property
    def dialect(self) -> Dialect | None:
        """Where it is known before the first row."""

    @property
    def is_table(self) -> bool:
        """Whether every row has every column, so that an empty cell is a text that is not there."""

    def skip(self, line: int) -> None:
        """From now on the rows up to that line are left out, as cheaply as the file allows."""

    def __iter__(self) -> Iterator[Row]: ...


class PairsOfRows:
    """The pairs of each row in one dialect: the given one, or that of the first row that has all of its fields."""

    def __init__(self, log: IssueLog, *, dialect: Dialect | None, is_table: bool, limit: int) -> None:
        self.ignored_fields = 0
        self.ignored_names: Counter[str] = Counter()
        self._log = log
        self._dialect = dialect
        self._is_table = is_table
        self._limit = limit
        self._negative_fields: dict[tuple[str, ...], tuple[str, ...]] = {}

    def pairs(self, row: Row) -> list[Pair]:
        """The row's pairs, one for each positive; none after its issues were counted."""
        dialect = self._dialect = self._dialect or dialect_of(row.values.keys())
        dialect = dialect or OURS
        fields = self._fields_of_negatives(row, dialect)
        self._ignore(row, {*fields, dialect.positive, *dialect.anchors})
        anchor = self._anchor(row, dialect)
        positives = self._positives(row, dialect)
        negatives = [self._texts(row, name, lists_only=dialect.lists_only) for name in fields]
        if anchor is None or positives is None or None in negatives:
            return []
        texts = tuple(text for found in negatives for text in found or ())
        return [Pair(anchor, positive, texts) for positive in positives]

    def _ignore(self, row: Row, used: set[str]) -> None:
        for name in row.values.keys() - used:
            self.ignored_fields += 1
            told = name if len(name) <= _MAX_NAME_CHARACTERS else name[: _MAX_NAME_CHARACTERS - 1] + "…"
            if told in self.ignored_names or len(self.ignored_names) < _MAX_REMEMBERED:
                self.ignored_names[told] += 1

    def _fields_of_negatives(self, row: Row, dialect: Dialect) -> tuple[str, ...]:
        names = tuple(row.values)
        if (known := self._negative_fields.get(names)) is not None:
            return known
        found = dialect.negative_fields(names)
        few = len(self._negative_fields) < _MAX_REMEMBERED
        if self._dialect is not None and few and sum(map(len, names)) <= _MAX_SET_CHARACTERS:
            self._negative_fields[names] = found
        return found

    def _anchor(self, row: Row, dialect: Dialect) -> str | None:
        names = [name for name in dialect.anchors if name in row.values]
        if len(names) == 1:
            return self._log.text(row, names[0], limit=self._limit)
        code, detail = ("ambiguous_field", f"{' and '.join(names)} are both given; keep one")
        if not names:
            last, *others = reversed(dialect.anchors)
            code, detail = ("missing_field", f"{last}{''.join(f' (or {name})' for name in others)} is missing; add it")
        self._log.add(code, detail, line=row.line, field=dialect.anchors[-1])
        return None

    def _positives(self, row: Row, dialect: Dialect) -> list[str] | None:
        name = dialect.positive
        values = row.values.get(name)
        if not dialect.several or not isinstance(values, list):
            text = self._log.text(row, name, limit=self._limit)
            return None if text is None else [text]
        if not values:
            self._log.add("missing_field", f"{name} is an empty list; add a text", line=row.line, field=name)
            return None
        return self._checked(row, name, values=values)

    def _texts(self, row: Row, name: str, *, lists_only: bool) -> list[str] | None:
        """The negatives in that field: a list, or one text; null and an empty cell are what tables have for none."""
        value = row.values[name]
        if value is None or (self._is_table and value == ""):
            return []
        if isinstance(value, list):
            return self._checked(row, name, values=value)
        if lists_only and name in OURS.negatives and not self._is_table:
            detail = f"{name} is {json_type(value)}; it must be a list of texts"
            self._log.add("wrong_type", detail, line=row.line, field=name)
            return None
        text = self._log.checked(value, name, line=row.line, limit=self._limit)
        return None if text is None else [text]

    def _checked(self, row: Row, name: str, *, values: list[object]) -> list[str] | None:
        checked = [
            self._log.checked(value, f"{name}[{place}]", line=row.line, limit=self._limit)
            for place, value in enumerate(values)
        ]
        texts = [text for text in checked if text is not None]
        return texts if len(texts) == len(values) else None
