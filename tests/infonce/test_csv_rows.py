"""A table is read by fixed rules; what breaks them is refused by line."""

from pathlib import Path

import pytest

from infonce.errors import DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs, read_pairs
from infonce.pairs import Pair

HEADER = "query,positive\n"
SMALL = FileLimits(max_line_bytes=1_000, max_lines=10)


def issues(path: Path, content: str | bytes) -> list[tuple[int | None, str]]:
    """Line and code of all that is broken."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError) as caught:
        check_pairs(path, SMALL)
    return [(issue.line, issue.code) for issue in caught.value.issues]


@pytest.mark.parametrize(
    ("content", "line", "code"),
    [
        (HEADER + 'a,b\n"c,d\ne,f\n', 3, "invalid_csv"),  # nothing closes the quote
        (HEADER + 'a,"b"c\n', 2, "invalid_csv"),
        (HEADER + "a,b\nc\rd,e\n", 3, "invalid_csv"),
        (HEADER + "a,b\n\nc,d,e\n", 4, "ragged_row"),
        (HEADER + '"a\nb\nc",d\ne\n', 5, "ragged_row"),
        (HEADER + "a,b\na\0,b\n", 3, "invalid_text"),
        (HEADER.encode() + b"a,b\n\xff,b\n", 3, "not_utf8"),
        (HEADER + "a, \n", 2, "empty_text"),
        (HEADER + ",b\n", 2, "empty_text"),
        (HEADER + f"a,{'x' * 2_000}\n", 2, "line_too_long"),
        (HEADER + 'a,"' + "x\n" * 600, 2, "too_many_rows"),
        (HEADER + "\n".join(['a,"', *["x" * 300] * 5]), 6, "line_too_long"),
        (HEADER + "a,b\n" * 20, 11, "too_many_rows"),
        ("query,positive,positive\na,b,c\n", 1, "duplicate_field"),
        ("query;positive\na;b\n", 1, "unknown_header"),
        ("how do I,like this\na,b\n", 1, "unknown_header"),
        ("Query,Positive\na,b\n", 1, "unknown_header"),
        (HEADER, None, "empty_dataset"),
    ],
)
def test_a_broken_table_is_refused_at_its_line(
    tmp_path: Path, content: str | bytes, line: int | None, code: str
) -> None:
    found = issues(tmp_path / "f", content)
    assert found == [(line, code)] or (code == "too_many_rows" and found[-1][1] == code), found


def test_a_cell_of_200_kb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(HEADER + f"a,{'x' * 200_000}\n")
    with pytest.raises(DatasetError, match="Line 2: the row cannot be read"):
        check_pairs(tmp_path / "f")


def test_ragged_rows_are_all_named_and_the_others_are_read(tmp_path: Path) -> None:
    assert issues(tmp_path / "f", HEADER + "a\nb,c\nd,e,f\n") == [(2, "ragged_row"), (4, "ragged_row")]


def test_a_mark_of_byte_order_and_a_formula_are_text_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'\xef\xbb\xbf"query",positive\r\n=cmd(),"+1, 2"\r\n\r\n')
    assert list(read_pairs(tmp_path / "f")) == [Pair("=cmd()", "+1, 2")]
    assert check_pairs(tmp_path / "f").empty_lines == 1


def test_other_columns_are_counted_cell_by_cell(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("id\tanchor\tpositive\tlang\n1\ta\tb\ten\n2\tc\td\t\n")
    assert check_pairs(tmp_path / "f").ignored_fields == 4
