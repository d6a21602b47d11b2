"""Files of pairs, read with line-numbered errors.

One object a line: `anchor` (or `query`), `positive`, and `negatives`, a list of texts that may be left out.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from infonce.jsonl import IssueLog, Lines, Row, TextLines, json_type, rows
from infonce.limits import check_whole
from infonce.pairs import Pair

_ANCHOR_NAMES: Final = ("anchor", "query")
_FIELDS: Final = frozenset({*_ANCHOR_NAMES, "positive", "negatives"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLimits:
    """How large a file and its parts may be; what is larger is refused, never cut."""

    max_line_bytes: int = 1 << 20
    max_document_line_bytes: int = 4 << 20  # 262,144 characters may be escaped as 12 bytes each
    max_lines: int = 5_000_000
    max_documents: int = 1_000_000
    max_text_characters: int = 32_768
    max_document_characters: int = 262_144
    max_unpacked_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for field in fields(self):
            check_whole(field.name, getattr(self, field.name), low=1, high=1 << 50)


DEFAULT_LIMITS: Final = FileLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCounts:
    """What a whole file of pairs holds; `ignored_fields` counts every occurrence of a field that is not ours."""

    pairs: int
    negatives: int
    empty_lines: int
    ignored_fields: int


def read_pairs(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> Iterator[Pair]:
    """The pairs of a file in their order, one in memory at a time.

    Raises:
        DatasetError: at the first broken line, or at the end of a file without pairs.
    """
    log = IssueLog()
    with path.open("rb") as stream:
        for pair in _PairReader(stream, log, limits=limits):
            log.raise_any()
            yield pair
    log.raise_any()


def check_pairs(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> PairCounts:
    """Every line was read and holds a pair.

    Raises:
        DatasetError: a line is broken, or there are no pairs; all issues are counted.
    """
    log = IssueLog()
    with path.open("rb") as stream:
        reader = _PairReader(stream, log, limits=limits)
        deque(reader, maxlen=0)
    log.raise_any()
    return reader.counts()


class _PairReader:
    """The pairs of a stream, and the counts of what was read so far."""

    def __init__(self, stream: Lines, log: IssueLog, *, limits: FileLimits) -> None:
        self._lines = TextLines(stream, log, max_line_bytes=limits.max_line_bytes, max_lines=limits.max_lines)
        self._log = log
        self._limit = limits.max_text_characters
        self._pairs = self._negatives = self._ignored_fields = 0

    def __iter__(self) -> Iterator[Pair]:
        for row in rows(self._lines, self._log):
            pair = self._pair(row)
            if pair is not None:
                self._pairs += 1
                self._negatives += len(pair.negatives)
                yield pair
        if not self._pairs and not self._log.num_issues:
            detail = f"the file has no pairs ({self._lines.empty_lines} empty lines)"
            self._log.add("empty_dataset", f"{detail}; write one object with query and positive a line")

    def counts(self) -> PairCounts:
        return PairCounts(
            pairs=self._pairs,
            negatives=self._negatives,
            empty_lines=self._lines.empty_lines,
            ignored_fields=self._ignored_fields,
        )

    def _pair(self, row: Row) -> Pair | None:
        self._ignored_fields += len(row.values.keys() - _FIELDS)
        anchor = self._anchor(row)
        positive = self._log.text(row, "positive", limit=self._limit)
        negatives = self._negative_texts(row)
        if anchor is None or positive is None or negatives is None:
            return None
        return Pair(anchor, positive, negatives)

    def _anchor(self, row: Row) -> str | None:
        names = [name for name in _ANCHOR_NAMES if name in row.values]
        if len(names) == 1:
            return self._log.text(row, names[0], limit=self._limit)
        code, detail = ("ambiguous_field", "anchor and query are both given; keep one")
        if not names:
            code, detail = ("missing_field", "query (or anchor) is missing; add it")
        self._log.add(code, detail, line=row.line, field="query")
        return None

    def _negative_texts(self, row: Row) -> tuple[str, ...] | None:
        values = row.values.get("negatives")
        if values is None:  # null is what a data frame writes for a missing list
            return ()
        if not isinstance(values, list):
            detail = f"negatives is {json_type(values)}; it must be a list of texts"
            self._log.add("wrong_type", detail, line=row.line, field="negatives")
            return None
        checked = [
            self._log.checked(value, f"negatives[{place}]", line=row.line, limit=self._limit)
            for place, value in enumerate(values)
        ]
        texts = tuple(text for text in checked if text is not None)
        return texts if len(texts) == len(values) else None
