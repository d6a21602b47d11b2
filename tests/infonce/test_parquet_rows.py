"""Parquet holds what lines of JSON hold; a broken or too large one is refused."""

import datetime
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infonce.dialects import FieldMapping
from infonce.errors import DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs, read_pairs
from infonce.pairs import Pair

OURS = {"query": ["a", "f"], "positive": ["b", "g"], "negatives": [["c", "d"], None], "id": [1, 2]}


def written(path: Path, **columns: list[Any]) -> Path:
    """A Parquet file of these columns."""
    pq.write_table(pa.table(columns), path)
    return path


def code(path: Path, limits: FileLimits | None = None) -> tuple[int | None, str]:
    """Line and code of the first issue."""
    with pytest.raises(DatasetError) as caught:
        check_pairs(path, limits or FileLimits())
    return caught.value.issues[0].line, caught.value.issues[0].code


def test_columns_of_pairs_are_read_and_others_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "f", **OURS)
    assert list(read_pairs(path)) == [Pair("a", "b", ("c", "d")), Pair("f", "g")]
    assert check_pairs(path).ignored_fields == 2


def test_lists_of_positives_and_ragged_columns_are_kept(tmp_path: Path) -> None:
    several = written(tmp_path / "f", query=["a", "f"], pos=[["b", "e"], ["g"]], neg=[["c"], []])
    assert list(read_pairs(several)) == [Pair("a", "b", ("c",)), Pair("a", "e", ("c",)), Pair("f", "g")]
    ragged = written(
        tmp_path / "g", anchor=["a", "f"], positive=["b", "g"], negative_1=["c", "d"], negative_2=["e", None]
    )
    assert list(read_pairs(ragged)) == [Pair("a", "b", ("c", "e")), Pair("f", "g", ("d",))]


def test_a_mapping_names_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "f", question=["a"], answer=["b"], query=[1])
    assert code(path) == (None, "unknown_header")
    assert list(read_pairs(path, mapping=FieldMapping(anchor="question", positive="answer"))) == [Pair("a", "b")]


def test_rows_across_groups_and_batches_come_in_order(tmp_path: Path) -> None:
    table = pa.table({"query": [f"q{n}" for n in range(2_000)], "positive": [f"p{n}" for n in range(2_000)]})
    pq.write_table(table, tmp_path / "f", row_group_size=300, compression="zstd")
    assert list(read_pairs(tmp_path / "f")) == [Pair(f"q{n}", f"p{n}") for n in range(2_000)]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"query": ["a", None], "positive": ["b", "c"]}, (2, "wrong_type")),
        ({"query": [b"a"], "positive": ["b"]}, (1, "wrong_type")),
        ({"query": ["a"], "positive": [datetime.date(2020, 1, 1)]}, (1, "wrong_type")),
        ({"query": ["a"], "positive": ["b"], "negatives": [["c", None]]}, (1, "wrong_type")),
        ({"query": ["a"], "positive": [" "]}, (1, "empty_text")),
        ({"query": ["a"], "text": ["b"]}, (None, "unknown_header")),
        ({"query": [], "positive": []}, (None, "empty_dataset")),
    ],
)
def test_a_broken_row_is_named_by_its_number(tmp_path: Path, columns: Any, found: tuple[int | None, str]) -> None:
    assert code(written(tmp_path / "f", **columns)) == found


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["query", "positive", "positive"]), tmp_path / "f")
    assert code(tmp_path / "f") == (None, "duplicate_field")


def test_a_small_file_that_holds_much_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "f", query=["a" * 1_000] * 9_000, positive=["b"] * 9_000)
    assert path.stat().st_size < 50_000
    assert code(path, FileLimits(max_unpacked_bytes=1_000_000)) == (None, "decompressed_too_large")
    assert code(path, FileLimits(max_lines=8_999)) == (None, "too_many_rows")


def test_no_change_of_bytes_raises_anything_else(tmp_path: Path) -> None:
    content = written(tmp_path / "f", **OURS).read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(4, len(content), 300):
        (tmp_path / "g").write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        try:
            check_pairs(tmp_path / "g")
        except DatasetError as error:
            assert error.issues[0].detail


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + bytes(100), b"PAR1" + bytes(100) + b"PAR1"])
def test_what_only_begins_like_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    assert code(tmp_path / "f") == (None, "corrupt_parquet")


def test_without_pyarrow_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "f", **OURS)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DatasetError, match=r"pip install 'infonce-service\[parquet\]'"):
        check_pairs(path)
