"""The objects of one JSON list, read one after another: the list itself is never in memory."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from infonce.dialects import Dialect
from infonce.file_limits import FileLimits
from infonce.jsonl import BOM, DECODER, ODD_NUMBER, TOO_DEEP, IssueLog, Row, json_type

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_PIECE_BYTES: Final = 1 << 16


class ListRows:
    """The objects of a list that a stream holds, each with the number of the line on which it begins.

    What is no JSON ends the reading: nobody can tell where the next object would begin.
    """

    is_table = False
    empty_lines = 0

    def __init__(
        self, stream: BinaryIO, log: IssueLog, *, first: bytes, limits: FileLimits, mapped: Dialect | None
    ) -> None:
        self.dialect = mapped
        self._text = _Text(stream, first.removeprefix(BOM), max_characters=limits.max_line_bytes)
        self._log = log
        self._max_rows = limits.max_lines
        self._skipped = 0

    def skip(self, line: int) -> None:
        """From now on the objects that begin up to that line are left out; they have to be read to find the next."""
        self._skipped = line

    def __iter__(self) -> Iterator[Row]:
        try:
            yield from self._rows()
        except _Unreadable as error:
            self._log.add(error.code, error.detail, line=error.line)

    def _rows(self) -> Iterator[Row]:
        text = self._text
        text.take("[", of="[")
        ended = text.next_sign() == "]"
        num_rows = 0
        while not ended:
            text.next_sign()
            line, value = text.line, text.value()
            num_rows += 1
            if num_rows > self._max_rows:
                detail = f"there are more than {self._max_rows} objects; split the file or take fewer"
                raise _Unreadable("too_many_rows", detail, line=line)
            if isinstance(value, dict):
                if line > self._skipped:
                    yield Row(line, value)
            else:
                self._log.add("not_an_object", f"{json_type(value)} is in the list; it must be an object", line=line)
            ended = text.next_sign() == "]"
            if not ended:
                text.take(",", of=", or ]")
        text.take("]", of="]")
        if text.next_sign():
            detail = "something stands behind the end of the list; write one list, or one object a line"
            raise _Unreadable("invalid_json", detail, line=text.line)


class _Unreadable(Exception):
    """What follows cannot be told apart."""

    def __init__(self, code: str, detail: str, *, line: int) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.line = line


class _Text:
    """A place in the stream's text, of which no more than one value and one piece are in memory."""

    def __init__(self, stream: BinaryIO, first: bytes, *, max_characters: int) -> None:
        self.line = 1
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._max = max_characters
        self._first = first
        self._text = ""
        self._place = 0

    def next_sign(self) -> str:
        """The next character that is no white space, which is where we are then; nothing at the end."""
        while True:
            found = _SPACE.match(self._text, self._place)
            self._go_to(found.end() if found else self._place)
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read():
                return ""

    def take(self, sign: str, *, of: str) -> None:
        """We are behind that sign, which was the next one."""
        if (found := self.next_sign()) != sign:
            what = f"{found!r} stands" if found else "the file ends"
            raise _Unreadable("invalid_json", f"{what} where the list needs {of}; mend it", line=self.line)
        self._go_to(self._place + 1)

    def value(self) -> Any:
        """The JSON value at this place; we are behind it."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if len(self._text) - self._place <= self._max and self._read():
                    continue  # it may only have been cut
                line = self.line + self._text.count("\n", self._place, error.pos)
                if len(self._text) - self._place > self._max:
                    raise self._too_long() from None
                raise _Unreadable("invalid_json", f"not JSON: {error.msg}; mend the object", line=line) from None
            except RecursionError:
                raise _Unreadable("invalid_json", TOO_DEEP, line=self.line) from None
            except ValueError:
                raise _Unreadable("invalid_json", ODD_NUMBER, line=self.line) from None
            if end - self._place > self._max:
                raise self._too_long()
            self._go_to(end)
            return value

    def _too_long(self) -> _Unreadable:
        detail = f"the object is not closed within {self._max} characters; mend or shorten it"
        return _Unreadable("line_too_long", detail, line=self.line)

    def _go_to(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _read(self) -> bool:
        """Whether there is more text now; as much as waits already is read, so that no value is tried often."""
        content = self._first or self._stream.read(max(_PIECE_BYTES, len(self._text) - self._place))
        self._first = b""
        left = self._text[self._place :]
        try:
            self._text, self._place = left + self._decoder.decode(content, final=not content), 0
        except UnicodeDecodeError as error:
            line = self.line + left.count("\n") + error.object.count(b"\n", 0, error.start)
            detail = f"0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
            raise _Unreadable("not_utf8", detail, line=line) from None
        return bool(content)
