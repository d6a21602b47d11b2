"""Lines are bounded and strict, and every broken one is named."""

import io
import json
import string
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infonce.errors import DatasetError, Issue
from infonce.jsonl import IssueLog, Row, TextLines, is_blank, rows, text_problem

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.text(max_size=20) | st.none() | st.integers()


def read(content: bytes, *, max_line_bytes: int = 1_000, max_lines: int = 100) -> tuple[list[Row], tuple[Issue, ...]]:
    """The rows of `content` and the issues that were counted."""
    log = IssueLog()
    lines = TextLines(io.BytesIO(content), log, max_line_bytes=max_line_bytes, max_lines=max_lines)
    found = list(rows(lines, log))
    try:
        log.raise_any()
    except DatasetError as error:
        return found, error.issues
    return found, ()


@UNHURRIED
@given(st.lists(st.dictionaries(st.text(string.printable, max_size=9), JSON, max_size=4), max_size=9))
def test_what_was_written_as_json_lines_is_read(objects: list[dict[str, object]]) -> None:
    content = b"".join(json.dumps(item).encode() + b"\n" for item in objects)
    found, issues = read(content, max_line_bytes=1 << 20)
    assert [row.values for row in found] == objects
    assert not issues


def test_line_separators_of_unicode_and_a_bare_return_do_not_end_a_line() -> None:
    text = "a\u2028b\u0085c\x0bd"
    content = json.dumps({"t": text}, ensure_ascii=False).encode() + b"\r\n" + b'{"t":\r"x"}'
    found, issues = read(content)
    assert [(row.line, row.values["t"]) for row in found] == [(1, text), (2, "x")]
    assert not issues


def test_a_byte_order_mark_is_dropped_at_the_start_alone() -> None:
    found, issues = read(b'\xef\xbb\xbf{"a":1}\n\xef\xbb\xbf{"a":2}\n')
    assert [row.values for row in found] == [{"a": 1}]
    assert [(issue.line, issue.code) for issue in issues] == [(2, "invalid_json")]


def test_empty_lines_are_counted_and_keep_the_numbers_right() -> None:
    log = IssueLog()
    lines = TextLines(io.BytesIO(b'\n \t\r\n{"a":1}\n\n'), log, max_line_bytes=10, max_lines=10)
    assert [row.line for row in rows(lines, log)] == [3]
    assert lines.empty_lines == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": -Infinity}', "invalid_json"),
        (b'{"a": ' + b"[" * 900 + b"}", "invalid_json"),
        (b'{"a": "\x01"}', "invalid_json"),
        (b"[1]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"1.5", "not_an_object"),
        (b"\x89PNG\r", "not_utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        ('{"a": 1}'.encode("utf-16"), "not_utf8"),
    ],
)
def test_a_broken_line_is_named_and_the_others_are_read(content: bytes, code: str) -> None:
    found, issues = read(b'{"a":1}\n' + content + b'\n{"a":2}\n')
    assert [row.values for row in found] == [{"a": 1}, {"a": 2}]
    assert [(issue.line, issue.code) for issue in issues] == [(2, code)]


@pytest.mark.parametrize("value", ["[" * 200_000 + "]" * 200_000, "9" * 5_000, "[" * 200_000])
def test_what_python_cannot_hold_is_refused_not_raised(value: str) -> None:
    found, issues = read(f'{{"a": {value}}}'.encode(), max_line_bytes=1 << 20)
    assert not found
    assert [issue.code for issue in issues] == ["invalid_json"]


def test_the_longest_line_is_read_and_one_byte_more_is_refused() -> None:
    line = b'{"a":"123456789"}\n'
    assert len(read(line, max_line_bytes=len(line))[0]) == 1
    found, issues = read(line + b'{"a":1}\n', max_line_bytes=len(line) - 1)
    assert [row.line for row in found] == [2]
    assert [(issue.line, issue.code) for issue in issues] == [(1, "line_too_long")]


class Endless:
    """A line of `num_bytes`, made while it is read; remembers the largest piece that was asked for."""

    def __init__(self, num_bytes: int) -> None:
        self.left = num_bytes
        self.largest = 0

    def readline(self, size: int, /) -> bytes:
        self.largest = max(self.largest, size)
        taken = min(size, self.left)
        self.left -= taken
        return b"x" * taken


def test_a_line_of_two_gigabytes_is_skipped_in_pieces() -> None:
    stream = Endless(2 << 30)
    log = IssueLog()
    assert not list(TextLines(stream, log, max_line_bytes=1 << 20, max_lines=10))
    assert (stream.largest, stream.left, log.num_issues) == ((1 << 20) + 1, 0, 1)


def test_reading_stops_at_too_many_lines() -> None:
    found, issues = read(b"{}\n" * 50, max_lines=10)
    assert len(found) == 10
    assert [(issue.line, issue.code) for issue in issues] == [(11, "too_many_rows")]


def test_all_issues_are_counted_and_twenty_are_kept() -> None:
    log = IssueLog()
    for line in range(1, 1_001):
        log.add("invalid_json", "broken", line=line)
    with pytest.raises(DatasetError, match=r"^Line 1: broken \(and 999 more\)$") as caught:
        log.raise_any()
    assert (len(caught.value.issues), caught.value.num_issues) == (20, 1_000)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty_text"),
        (" \t\u00a0\u2003\n", "empty_text"),
        ("\u200b\u200d\ufeff\u202e", "empty_text"),
        ("\x07\x1b", "empty_text"),
        ("a\0b", "invalid_text"),
        ("a\udc00", "invalid_text"),
        ("12345678901", "text_too_long"),
    ],
)
def test_a_text_without_words_is_refused(text: str, code: str) -> None:
    problem = text_problem(text, 10)
    assert problem is not None and problem[0] == code


@pytest.mark.parametrize("text", ["🎉", " a ", "\u0301" * 10, "一二三", "0", "1234567890"])
def test_a_text_with_anything_visible_is_kept(text: str) -> None:
    assert text_problem(text, 10) is None


def characters() -> Iterator[str]:
    yield from map(chr, range(0x3000))


def test_blank_characters_are_the_ones_python_cannot_print_and_spaces() -> None:
    invisible = {character for character in characters() if is_blank(character)}
    assert {"\x00", " ", "\u00ad", "\u200b", "\u2028"} <= invisible
    assert not any(character.isprintable() and not character.isspace() for character in invisible)
