"""Rows of comma- or tab-separated text with a header whose names are known; nothing is guessed (RFC 4180)."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from infonce.dialects import Dialect, dialect_of
from infonce.file_limits import FileLimits
from infonce.jsonl import BOM, IssueLog, Lines, Row, utf8_problem

_DELIMITERS: Final = (",", "\t")
_LOOKS_SEPARATED: Final = (",", "\t", ";")
_SHOWN: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The columns of a file and what they hold."""

    delimiter: str
    columns: tuple[str, ...]
    dialect: Dialect


def header_of(line: bytes, mapped: Dialect | None) -> Header | None:
    """The header that the first line is, if its columns are those of a dialect, or of the mapping if there is one."""
    for delimiter in _DELIMITERS:
        columns = _split(line, delimiter)
        dialect = dialect_of(columns) if mapped is None else mapped
        if dialect is not None and dialect.fits(columns):
            return Header(delimiter=delimiter, columns=columns, dialect=dialect)
    return None


def header_problem(line: bytes, mapped: Dialect | None) -> str | None:
    """Why the first line is no header, if it looks like one of separated columns."""
    text = line.removeprefix(BOM).decode("utf-8", "replace").strip()
    if not any(sign in text for sign in _LOOKS_SEPARATED):
        return None
    wanted = "query (or anchor) and positive" if mapped is None else f"{mapped.anchors[0]} and {mapped.positive}"
    detail = f"the first line {text[:_SHOWN]!r} is neither a JSON object nor a header with columns {wanted}"
    return f"{detail}, separated by commas or tabs; name the columns so, or say in a mapping what they hold"


def _split(line: bytes, delimiter: str) -> tuple[str, ...]:
    try:
        text = line.removeprefix(BOM).decode("utf-8").rstrip("\r\n")
        return tuple(next(csv.reader([text], delimiter=delimiter, strict=True), ()))
    except (UnicodeDecodeError, csv.Error):
        return ()


class _Unreadable(Exception):
    """What follows in the file cannot be told apart; code and sentence."""


class CsvRows:
    """The rows of a stream under its header, each with the number of its first line.

    A broken quote or an unreadable line ends the reading, for what follows may stand inside of a cell; a row of another
    length is counted in the log and left out. `csv.field_size_limit` belongs to the whole process and is left at its
    131,072 characters, four times the longest text; what a row may have of bytes is bounded here.
    """

    is_table = True

    def __init__(self, stream: Lines, log: IssueLog, *, header: Header, limits: FileLimits) -> None:
        self.dialect = header.dialect
        self.empty_lines = 0
        self._stream = stream
        self._log = log
        self._header = header
        self._limits = limits
        self._line = self._row_bytes = self._skipped = 0

    def skip(self, line: int) -> None:
        """From now on no row is made of what stands up to that line, which has to be read: quotes hide line ends."""
        self._skipped = line

    def __iter__(self) -> Iterator[Row]:
        columns = self._header.columns
        cells = self._cells()
        next(cells, None)  # the header itself
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            detail = f"the column {twice[0]!r} stands twice in the header; give each its own name"
            self._log.add("duplicate_field", detail, line=1, field=twice[0])
            return
        for line, found in cells:
            if not found:
                self.empty_lines += 1
            elif len(found) != len(columns):
                detail = f"the row has {len(found)} cells, the header {len(columns)}; quote what holds the separator"
                self._log.add("ragged_row", detail, line=line)
            elif line > self._skipped:
                yield Row(line, dict(zip(columns, found, strict=True)))

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self._lines(), delimiter=self._header.delimiter, strict=True)
        while True:
            start, self._row_bytes = self._line + 1, 0
            try:
                yield start, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                detail = f"the row cannot be read ({error}); close its quotes and double those inside"
                self._log.add("invalid_csv", detail, line=start)
                return
            except _Unreadable as error:
                self._log.add(*error.args, line=self._line)
                return

    def _lines(self) -> Iterator[str]:
        limits = self._limits
        while content := self._stream.readline(limits.max_line_bytes + 1):
            self._line += 1
            self._row_bytes += len(content)
            if self._line > limits.max_lines:
                detail = f"there are more than {limits.max_lines} lines; split the file or take fewer"
                raise _Unreadable("too_many_rows", detail)
            if self._row_bytes > limits.max_line_bytes:
                detail = f"the row is longer than {limits.max_line_bytes} bytes; close its quotes, or shorten it"
                raise _Unreadable("line_too_long", detail)
            if b"\0" in content:
                raise _Unreadable("invalid_text", "the line has NUL (U+0000); remove it")
            content = content.removeprefix(BOM) if self._line == 1 else content
            try:
                yield content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _Unreadable("not_utf8", utf8_problem(content, error)) from None
