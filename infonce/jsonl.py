"""Lines of JSON in a stream of bytes: bounded, strict, and every broken line named.

Lines end at `\\n` alone, as JSON Lines says: U+2028, U+0085 and a bare CR may stand inside a text.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from infonce.errors import MAX_LISTED_ISSUES, DatasetError, Issue

BOM: Final = b"\xef\xbb\xbf"
TOO_DEEP: Final = "nesting too deep; flatten it"
ODD_NUMBER: Final = "a number is NaN, infinite or thousands of digits long; write a usual one"
_FORBIDDEN: Final = re.compile("[\x00\ud800-\udfff]")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_JSON_TYPES: Final = {type(None): "null", bool: "true or false", int: "a number", float: "a number"} | {
    str: "a text",
    list: "a list",
    dict: "an object",
}


class Lines(Protocol):
    """Any stream that reads a line of at most so many bytes."""

    def readline(self, size: int, /) -> bytes:
        """The next line with its end, or its first `size` bytes; nothing at the end of the stream."""


class Row(NamedTuple):
    """One JSON object and the line on which it stands."""

    line: int
    values: dict[str, Any]


class IssueLog:
    """Counts every issue of a file and keeps the first 20; `member` names the part of the file being read."""

    def __init__(self) -> None:
        self.member = ""
        self.num_issues = 0
        self._kept: list[Issue] = []

    def add(self, code: str, detail: str, *, line: int | None = None, field: str | None = None) -> None:
        """Count one issue."""
        self.num_issues += 1
        if len(self._kept) < MAX_LISTED_ISSUES:
            where = f"{self.member}: " if self.member else ""
            self._kept.append(Issue(line=line, field=field, code=code, detail=where + detail))

    def raise_any(self) -> None:
        """Raise what was counted.

        Raises:
            DatasetError: at least one issue was counted.
        """
        if self.num_issues:
            raise DatasetError(self._kept, num_issues=self.num_issues)

    def text(self, row: Row, field: str, *, limit: int, may_be_blank: bool = False) -> str | None:
        """The text in that field of the row, or nothing after its issue was counted."""
        if field not in row.values:
            self.add("missing_field", f"{field} is missing; add it", line=row.line, field=field)
            return None
        return self.checked(row.values[field], field, line=row.line, limit=limit, may_be_blank=may_be_blank)

    def titled_text(self, row: Row, *, limit: int) -> str | None:
        """Title and text joined by a blank, as BEIR's own models join them; one of them may be empty."""
        text = self.text(row, "text", limit=limit, may_be_blank=True)
        title = row.values.get("title")
        if title is not None:
            title = self.checked(title, "title", line=row.line, limit=limit, may_be_blank=True)
            text = None if text is None or title is None else f"{title} {text}".strip()
        return None if text is None else self.checked(text, "text", line=row.line, limit=limit)

    def checked(self, value: object, field: str, *, line: int, limit: int, may_be_blank: bool = False) -> str | None:
        """`value` if it is a text to work with, or nothing after its issue was counted."""
        if not isinstance(value, str):
            problem = ("wrong_type", f"is {json_type(value)}; it must be a text")
        elif found := text_problem(value, limit, may_be_blank=may_be_blank):
            problem = found
        else:
            return value
        self.add(problem[0], f"{field} {problem[1]}", line=line, field=field)
        return None


def json_type(value: object) -> str:
    """What JSON calls the type of `value`, with its article."""
    return _JSON_TYPES.get(type(value), f"a {type(value).__name__}")  # a table may hold what JSON does not know


def text_problem(value: str, limit: int, *, may_be_blank: bool = False) -> tuple[str, str] | None:
    """The code and the end of a sentence on why `value` is no text to work with; nothing if it is one."""
    if len(value) > limit:
        return "text_too_long", f"has {len(value)} characters; the limit is {limit}; shorten or split it"
    if (not value.isascii() or "\0" in value) and (found := _FORBIDDEN.search(value)):  # no surrogate is ASCII
        name = "NUL (U+0000)" if found[0] == "\0" else f"a lone surrogate (U+{ord(found[0]):04X})"
        return "invalid_text", f"has {name} at character {found.start() + 1}; remove it"
    if not may_be_blank and is_blank(value):
        return "empty_text", "has no visible character; give it words or leave the line out"
    return None


def is_blank(text: str) -> bool:
    """Whether nothing is left after white space, control and format characters."""
    if text[:1].isalnum():  # as most texts begin
        return False
    return all(unicodedata.category(character) in _INVISIBLE for character in text)


class TextLines:
    """Number and text of each line that is not empty, without its end; broken lines are counted in the log."""

    def __init__(self, stream: Lines, log: IssueLog, *, max_line_bytes: int, max_lines: int) -> None:
        self.empty_lines = 0
        self._stream = stream
        self._log = log
        self._max_line_bytes = max_line_bytes
        self._max_lines = max_lines
        self._skipped = 0

    def skip(self, line: int) -> None:
        """From now on the lines up to that one are passed over: neither decoded nor looked at."""
        self._skipped = line

    def __iter__(self) -> Iterator[tuple[int, str]]:
        number = 0
        while content := self._stream.readline(self._max_line_bytes + 1):
            number += 1
            if number > self._max_lines:
                detail = f"there are more than {self._max_lines} lines; split the file or take fewer"
                self._log.add("too_many_rows", detail, line=number)
                return
            if len(content) > self._max_line_bytes:
                self._skip_rest(content, number)
            elif number <= self._skipped:
                continue
            elif (text := self._decode(content.removeprefix(BOM) if number == 1 else content, number)) is not None:
                yield number, text

    def _skip_rest(self, content: bytes, line: int) -> None:
        limit = self._max_line_bytes
        self._log.add("line_too_long", f"the line is longer than {limit} bytes; split or shorten it", line=line)
        while content and not content.endswith(b"\n"):
            content = self._stream.readline(limit + 1)

    def _decode(self, content: bytes, line: int) -> str | None:
        content = content.rstrip(b"\r\n")
        if not content.strip(b" \t\r"):
            self.empty_lines += 1
            return None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            self._log.add("not_utf8", utf8_problem(content, error), line=line)
            return None


def utf8_problem(content: bytes, error: UnicodeDecodeError) -> str:
    """The sentence on a line that is not UTF-8."""
    found = f"byte {error.start + 1} of the line (0x{content[error.start]:02x})"
    return f"{found} is not UTF-8; save the file as UTF-8 text"


def rows(lines: TextLines, log: IssueLog) -> Iterator[Row]:
    """The objects that the lines hold, one each; broken lines are counted in the log and left out."""
    for number, content in lines:
        try:
            value = DECODER.decode(content)
        except json.JSONDecodeError as error:
            problem = f"not JSON: {error.msg} at character {error.pos + 1}; write one object a line"
        except RecursionError:
            problem = TOO_DEEP
        except ValueError:  # NaN and Infinity, or Python's limit on the digits of a whole number
            problem = ODD_NUMBER
        else:
            if isinstance(value, dict):
                yield Row(number, value)
            else:
                log.add("not_an_object", f"the line is {json_type(value)}; it must be an object", line=number)
            continue
        log.add("invalid_json", problem, line=number)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
"""Strict: NaN and Infinity are a ValueError that is no JSONDecodeError."""
