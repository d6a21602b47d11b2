"""Files of pairs in every shape that `dialects` knows, told apart by what is in them, never by their names.

JSON Lines, a JSON list, CSV and TSV with a header, any of them inside gzip or zstd; Parquet; a BEIR zip or folder.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from infonce.beir_rows import BeirRows
from infonce.compression import Unpacked, compression_of
from infonce.csv_rows import CsvRows, header_of, header_problem
from infonce.dialects import Dialect, FieldMapping
from infonce.duplicates import PairDigests
from infonce.errors import DatasetError, Issue
from infonce.file_limits import DEFAULT_LIMITS as DEFAULT_LIMITS
from infonce.file_limits import FileLimits as FileLimits
from infonce.json_list import ListRows
from infonce.jsonl import BOM, IssueLog, Lines, Row, TextLines, rows
from infonce.pair_rows import PairRows, PairsOfRows
from infonce.pairs import Pair
from infonce.parquet_rows import MAGIC as PARQUET_MAGIC
from infonce.parquet_rows import parquet_rows

_ZIP: Final = "zip"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_PARQUET: Final = "Parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCounts:
    """What a whole file of pairs holds."""

    pairs: int
    negatives: int
    duplicates: int
    """Pairs whose anchor and positive are those of an earlier pair."""
    empty_lines: int
    ignored_fields: int
    """Every occurrence of a field that is not ours."""


def read_pairs(
    path: Path, limits: FileLimits = DEFAULT_LIMITS, *, mapping: FieldMapping | None = None
) -> Iterator[Pair]:
    """The pairs of a file in their order, one row in memory at a time.

    Raises:
        DatasetError: at the first broken line, or at the end of a file without pairs.
    """
    with opened_pairs(path, limits, mapping=mapping) as reader:
        for _, pair in reader:
            reader.raise_any()
            yield pair
        reader.raise_any()


def check_pairs(path: Path, limits: FileLimits = DEFAULT_LIMITS, *, mapping: FieldMapping | None = None) -> PairCounts:
    """Every line was read and holds a pair.

    Raises:
        DatasetError: a line is broken, or there are no pairs; all issues are counted.
    """
    with opened_pairs(path, limits, mapping=mapping) as reader:
        digests = PairDigests()
        for _, pair in reader:
            digests.add(pair)
        reader.raise_any()
    return PairCounts(
        pairs=reader.num_pairs,
        negatives=reader.num_negatives,
        duplicates=digests.num_duplicates(),
        empty_lines=reader.empty_lines,
        ignored_fields=reader.ignored_fields,
    )


@contextmanager
def opened_pairs(
    path: Path, limits: FileLimits = DEFAULT_LIMITS, *, mapping: FieldMapping | None = None
) -> Iterator["PairReader"]:
    """The reader of a file of pairs, which is open until the block ends.

    Raises:
        DatasetError: nothing of it can be read.
    """
    log = IssueLog()
    with _opened(path, log, limits=limits, mapping=mapping) as found:
        yield PairReader(found, log, limits=limits)


class PairReader:
    """Line and pair of each row, and the counts of what was read so far; broken lines are left out and counted."""

    def __init__(self, found: PairRows, log: IssueLog, *, limits: FileLimits) -> None:
        self.num_pairs = self.num_negatives = 0
        self._found = found
        self._log = log
        self._max_pairs = limits.max_lines
        self._of_rows = PairsOfRows(
            log, dialect=found.dialect, is_table=found.is_table, limit=limits.max_text_characters
        )

    @property
    def ignored_fields(self) -> int:
        """Every occurrence of a field that is not ours."""
        return self._of_rows.ignored_fields

    @property
    def ignored_names(self) -> Mapping[str, int]:
        """How many rows have each field that is not ours, 1,000 names of such fields at most."""
        return self._of_rows.ignored_names

    @property
    def empty_lines(self) -> int:
        """How many were passed over."""
        return self._found.empty_lines

    def raise_any(self) -> None:
        """Raise what was counted so far.

        Raises:
            DatasetError: a line is broken, or there are no pairs.
        """
        self._log.raise_any()

    def behind(self, line: int) -> Iterator[tuple[int, Pair]]:
        """Line and pair of each row behind that line; the first row of all says in what dialect they are."""
        for row in self._found:
            self._found.skip(line)
            pairs = self._of_rows.pairs(row)
            if row.line > line:
                yield from ((row.line, pair) for pair in pairs)

    def __iter__(self) -> Iterator[tuple[int, Pair]]:
        for row in self._found:
            pairs = self._of_rows.pairs(row)
            self.num_pairs += len(pairs)
            if self.num_pairs > self._max_pairs:
                detail = f"there are more than {self._max_pairs} pairs; split the file or take fewer"
                self._log.add("too_many_rows", detail, line=row.line)
                return
            self.num_negatives += sum(len(pair.negatives) for pair in pairs)
            yield from ((row.line, pair) for pair in pairs)
        if not self.num_pairs and not self._log.num_issues:
            detail = f"the file has no pairs ({self._found.empty_lines} empty lines)"
            self._log.add("empty_dataset", f"{detail}; write one object with query and positive a line")


@contextmanager
def _opened(path: Path, log: IssueLog, *, limits: FileLimits, mapping: FieldMapping | None) -> Iterator[PairRows]:
    """The rows of the file, open until the block ends."""
    mapped = None if mapping is None else mapping.dialect
    if path.is_dir():
        yield BeirRows(path, limits, mapped=mapped)
        return
    with path.open("rb") as file:
        kind = packed_kind(file.peek(4))
        if kind == _ZIP:
            yield BeirRows(path, limits, mapped=mapped)
        elif kind == _PARQUET:
            with parquet_rows(path, log, limits=limits, mapped=mapped) as found:
                yield found
        else:
            stream = file if kind is None else _unpacked(file, kind, limits=limits)
            yield _text_rows(stream, log, limits=limits, mapped=mapped)


def _unpacked(file: BinaryIO, kind: str, *, limits: FileLimits) -> BinaryIO:
    """What is packed in the file, which is no packed file again."""
    content = io.BufferedReader(Unpacked(file, kind, max_bytes=limits.max_unpacked_bytes), 1 << 16)
    if inside := packed_kind(content.peek(4)):
        detail = f"the {kind} file holds a {inside} file, which is packed already; send that one"
        raise DatasetError([Issue(line=None, field=None, code="nested_compression", detail=detail)])
    return content


def is_text(path: Path) -> bool:
    """Whether it is neither Parquet nor a zip: a file of lines, packed by gzip or zstd or not."""
    with path.open("rb") as file:
        return packed_kind(file.peek(4)) not in (_PARQUET, _ZIP)


def is_parquet(path: Path) -> bool:
    """Whether the file begins like one."""
    with path.open("rb") as file:
        return packed_kind(file.peek(4)) == _PARQUET


def packed_kind(head: bytes) -> str | None:
    """What the first four bytes say of a file that is not text."""
    if head.startswith(_ZIP_MAGIC):
        return _ZIP
    return _PARQUET if head.startswith(PARQUET_MAGIC) else compression_of(head)


def _text_rows(stream: BinaryIO, log: IssueLog, *, limits: FileLimits, mapped: Dialect | None) -> PairRows:
    """The rows of text, told by its first line: a known header is CSV or TSV, all else ought to be JSON Lines."""
    lines = _FirstLineAgain(stream, limits.max_line_bytes + 1)
    if (header := header_of(lines.first, mapped)) is not None:
        return CsvRows(lines, log, header=header, limits=limits)
    if not _is_json(lines.first) and (problem := header_problem(lines.first, mapped)) is not None:
        raise DatasetError([Issue(line=1, field=None, code="unknown_header", detail=problem)])
    if lines.first.removeprefix(BOM).lstrip().startswith(b"["):
        return ListRows(stream, log, first=lines.first, limits=limits, mapped=mapped)
    return _JsonRows(lines, log, limits=limits, mapped=mapped)


def _is_json(line: bytes) -> bool:
    """Whether it was meant to be JSON: an object or list begins, or it is a whole value, or no text at all."""
    content = line.removeprefix(BOM).strip()
    if content[:1] in (b"{", b"["):
        return True
    try:
        json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        return True
    except ValueError:
        return False
    return True


class _FirstLineAgain:
    """A stream whose first line was looked at and is still to be read."""

    def __init__(self, stream: Lines, size: int) -> None:
        self.first = stream.readline(size)
        self._left = self.first
        self._stream = stream

    def readline(self, size: int, /) -> bytes:
        if not self._left:
            return self._stream.readline(size)
        line, self._left = self._left[:size], self._left[size:]
        return line


class _JsonRows:
    """One JSON object a line."""

    is_table = False

    def __init__(self, stream: Lines, log: IssueLog, *, limits: FileLimits, mapped: Dialect | None) -> None:
        self.dialect = mapped
        self._lines = TextLines(stream, log, max_line_bytes=limits.max_line_bytes, max_lines=limits.max_lines)
        self._log = log

    @property
    def empty_lines(self) -> int:
        return self._lines.empty_lines

    def skip(self, line: int) -> None:
        self._lines.skip(line)

    def __iter__(self) -> Iterator[Row]:
        return rows(self._lines, self._log)
