"""A line that is longer than any reader takes, seen while the file arrives and long before all of it has."""

from typing import Final

from infonce.errors import DatasetError, Issue
from infonce.formats import packed_kind
from infonce.jsonl import BOM

_HEAD_BYTES: Final = 4
_BLANK: Final = b" \t\r\n" + BOM


class LongLines:
    """Looks at a file piece by piece; in what is packed, and in a JSON list, lines mean nothing."""

    def __init__(self) -> None:
        self._head = b""
        self._sign = b""  # the first that is no white space
        self._line, self._num_bytes = 1, 0

    def look(self, data: bytes, *, max_bytes: int) -> None:
        """The next piece was looked at.

        Raises:
            DatasetError: the line that it ends with has more than `max_bytes` already.
        """
        if len(self._head) < _HEAD_BYTES or not self._sign:
            self._head = (self._head + data[:_HEAD_BYTES])[:_HEAD_BYTES]
            self._sign = self._sign or data.lstrip(_BLANK)[:1]
        end = data.rfind(b"\n") + 1
        self._line += data.count(b"\n")
        self._num_bytes = len(data) - end + (0 if end else self._num_bytes)
        if self._num_bytes > max_bytes and self._sign not in (b"", b"[") and packed_kind(self._head) is None:
            detail = f"the line is longer than {max_bytes} bytes; split or shorten it"
            raise DatasetError([Issue(line=self._line, field=None, code="line_too_long", detail=detail)])
