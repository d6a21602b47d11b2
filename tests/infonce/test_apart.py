"""Parquet from a stranger is checked in another process, with the same words as here."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infonce.apart import check_foreign_beir, check_foreign_pairs
from infonce.dialects import FieldMapping
from infonce.errors import DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs
from infonce.qrels import EvalCounts

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


def judged(path: Path, num: int) -> Path:
    """A zip of so many queries and documents, each of which is judged for each."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("corpus", "queries"):
            texts = [json.dumps({"_id": f"{name} {number}", "text": "t"}) + "\n" for number in range(num)]
            archive.writestr(f"{name}.jsonl", "".join(texts))
        lines = (f"queries {one}\tcorpus {other}\t1\n" for one in range(num) for other in range(num))
        archive.writestr("qrels.tsv", "".join(lines))
    return path


def test_judgements_and_pairs_of_a_zip_are_counted_apart(tmp_path: Path) -> None:
    path = judged(tmp_path / "f", 3)
    assert check_foreign_beir(path) == EvalCounts(documents=3, queries=3, judgements=9)
    assert check_foreign_pairs(path) == check_pairs(path)
    (tmp_path / "g").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match="no zip that can be read"):
        check_foreign_beir(tmp_path / "g")


def test_judgements_that_need_too_much_memory_are_refused_with_a_remedy(tmp_path: Path) -> None:
    path = judged(tmp_path / "f", 700)
    code = f"""
import resource
from pathlib import Path
from infonce.apart import check_foreign_beir
resource.setrlimit(resource.RLIMIT_DATA, (96 << 20, 96 << 20))  # which the other process inherits
check_foreign_beir(Path({str(path)!r}))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "most often for lack of memory; shorten its ids, or split it" in ended.stderr
