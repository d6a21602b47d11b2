"""A line that nobody would read is seen while it arrives, wherever the pieces are cut."""

import gzip

import pytest

from infonce.errors import DatasetError
from infonce.jsonl import BOM
from infonce.long_lines import LongLines

LIMIT = 100


def look(content: bytes, size: int) -> int | None:
    """The line that is too long, if one is."""
    lines = LongLines()
    try:
        for start in range(0, len(content), size):
            lines.look(content[start : start + size], max_bytes=LIMIT)
    except DatasetError as error:
        assert (error.issues[0].code, error.num_issues) == ("line_too_long", 1)
        return error.issues[0].line
    return None


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("head", [b"", BOM, b" \n", b"q,p\n"], ids=["none", "mark", "blank", "header"])
def test_the_line_is_named_once_it_is_too_long(head: bytes, size: int) -> None:
    lines = b"".join(b"{%b}\n" % (b"a" * length) for length in (3, LIMIT - 10, 0, 50))
    assert look(head + lines, size) is None
    assert look(head + lines + b"{" * (LIMIT + 60), size) == 5 + head.count(b"\n")


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize(
    "content",
    [
        b"[" + b"{}," * 100,
        BOM + b" \n [" + b"{}," * 100,
        b"PK\x03\x04" + bytes(200),
        b"PAR1" + bytes(200),
        gzip.compress(bytes(range(256)) * 4),
        b" " * 300,
    ],
    ids=["list", "list behind blanks", "zip", "Parquet", "gzip", "blanks"],
)
def test_where_lines_mean_nothing_none_is_too_long(content: bytes, size: int) -> None:
    assert look(content, size) is None
