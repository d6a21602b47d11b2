"""Pages of the rows of a file that was checked before: so many pairs or documents, and where each of them stands.

Only the page is in memory. What lies before it is passed over: lines of JSON are not looked at,
in CSV and in a JSON list what hides a row's end has to be read, and what is packed is unpacked.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from infonce.dialects import FieldMapping
from infonce.documents import Document, documents_behind
from infonce.formats import opened_pairs
from infonce.pairs import Pair

MAX_PAGE_CHARACTERS: Final = 4_000_000
"""Of all texts of a page; the row that would be beyond begins the next one."""

Row = TypeVar("Row")


class Place(NamedTuple):
    """Where a pair stands: its line, and the how-manieth of that line it is, from 0."""

    line: int
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PairPage:
    """Some pairs, where they stand, and whether more follow."""

    rows: tuple[tuple[Place, Pair], ...]
    more: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"rows": [[*place, asdict(pair)] for place, pair in self.rows], "more": self.more}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `to_dict` wrote."""
        found = (
            (Place(line, number), Pair(told["anchor"], told["positive"], tuple(told["negatives"])))
            for line, number, told in values["rows"]
        )
        return cls(rows=tuple(found), more=values["more"])


def page_of_pairs(path: Path, after: Place, *, limit: int, mapping: FieldMapping | None) -> PairPage:
    """At most `limit` pairs behind that place.

    Raises:
        DatasetError: a line is broken after all.
    """
    with opened_pairs(path, mapping=mapping) as reader:
        found = ((place, pair) for place, pair in _placed(reader.behind(after.line - 1)) if place > after)
        rows, more = _bounded(found, lambda row: _size(row[1]), limit=limit)
        reader.raise_any()
    return PairPage(rows=tuple(rows), more=more)


def page_of_documents(path: Path, line: int, *, limit: int) -> tuple[list[Document], bool]:
    """At most `limit` documents behind that line, and whether more follow.

    Raises:
        DatasetError: a line is broken after all.
    """
    return _bounded(documents_behind(path, line), lambda document: len(document.text), limit=limit)


def _placed(found: Iterator[tuple[int, Pair]]) -> Iterator[tuple[Place, Pair]]:
    for line, pairs in groupby(found, key=itemgetter(0)):
        for number, (_, pair) in enumerate(pairs):
            yield Place(line, number), pair


def _bounded(rows: Iterable[Row], size: Callable[[Row], int], *, limit: int) -> tuple[list[Row], bool]:
    """The first rows, and whether there are more; the texts of one are never too long for a page."""
    page: list[Row] = []
    characters = 0
    for row in rows:
        characters += size(row)
        if page and (len(page) == limit or characters > MAX_PAGE_CHARACTERS):
            return page, True
        page.append(row)
    return page, False


def _size(pair: Pair) -> int:
    return len(pair.anchor) + len(pair.positive) + sum(map(len, pair.negatives))
