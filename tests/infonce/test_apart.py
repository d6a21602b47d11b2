"""Parquet from a stranger is checked in another process, with the same words as here."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infonce.apart import check_foreign_pairs
from infonce.dialects import FieldMapping
from infonce.errors import DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs

MAPPING = FieldMapping(anchor="q", positive="a", negatives=("n",))


def test_what_is_found_apart_is_what_is_found_here(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a", "é"], "a": ["b", "c"], "n": [["d"], None]}), tmp_path / "f")
    assert check_foreign_pairs(tmp_path / "f", mapping=MAPPING) == check_pairs(tmp_path / "f", mapping=MAPPING)
    found = []
    for check in (check_foreign_pairs, check_pairs):
        with pytest.raises(DatasetError) as caught:
            check(tmp_path / "f", FileLimits(max_lines=1), mapping=MAPPING)
        found.append((caught.value.issues, caught.value.num_issues))
    assert found[0] == found[1]


def test_a_dictionary_that_becomes_four_gigabytes_takes_nobody_down(tmp_path: Path) -> None:
    text = "a" * (16 << 20)
    table = pa.table({"query": pa.DictionaryArray.from_arrays(pa.array([0] * 256), [text]), "positive": ["b"] * 256})
    pq.write_table(table, tmp_path / "f", compression="zstd")
    assert (tmp_path / "f").stat().st_size < 1 << 20
    with pytest.raises(DatasetError) as caught:
        check_foreign_pairs(tmp_path / "f")
    assert caught.value.issues[0].code in ("corrupt_parquet", "text_too_long")


def test_text_is_checked_right_here(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("q,a\nb,c\n")
    assert check_foreign_pairs(tmp_path / "f", mapping=MAPPING).pairs == 1
