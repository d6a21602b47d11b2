"""Pages of a file put together are the file, whatever shape it has; what lies before a page is not looked at."""

import gzip
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infonce.apart import foreign_page
from infonce.documents import iterate_documents
from infonce.errors import DatasetError
from infonce.formats import opened_pairs
from infonce.pairs import Pair
from infonce.row_pages import MAX_PAGE_CHARACTERS, Place, page_of_documents, page_of_pairs

ROWS = [{"query": f"q{number}", "positive": f"p {number}", "negatives": [f"n{number}"]} for number in range(7)]
SEVERAL = [{"query": f"q{number}", "pos": ["a", "b", "c"], "neg": ["n"]} for number in range(3)]
START = Place(0, 0)


def json_lines(path: Path) -> None:
    path.write_text("\n".join(json.dumps(row) for row in ROWS).replace("\n", "\n\n", 1))


def packed(path: Path) -> None:
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)))


def of_several(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in SEVERAL))


def one_line_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def table(path: Path) -> None:
    path.write_text("query,positive\n" + "".join(f'q{number},"one\nand ""two"" {number}"\n' for number in range(7)))


def parquet(path: Path) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    pq.write_table(pa.table(columns), path, row_group_size=3)


def beir(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("corpus", "queries"):
            texts = [{"_id": f"{number}", "text": f"{name} {number}"} for number in range(7)]
            archive.writestr(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in texts))
        archive.writestr("qrels/train.tsv", "".join(f"{number}\t{number}\t1\n" for number in range(7)))


@pytest.mark.parametrize("write", [json_lines, packed, of_several, one_line_list, table, parquet, beir])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_put_together_are_what_a_reader_reads(write: Callable[[Path], None], limit: int, tmp_path: Path) -> None:
    write(tmp_path / "f")
    found: list[tuple[Place, Pair]] = []
    more = True
    while more:
        after = found[-1][0] if found else START
        page = page_of_pairs(tmp_path / "f", after, limit=limit, mapping=None)
        assert len(page.rows) <= limit
        found, more = [*found, *page.rows], page.more
    with opened_pairs(tmp_path / "f") as reader:
        assert [(place.line, pair) for place, pair in found] == list(reader)
    assert len({place for place, _ in found}) == len(found)


def test_the_dialect_is_that_of_the_first_row_wherever_a_page_begins(tmp_path: Path) -> None:
    rows = [{"query": "a", "positive": "b", "pos": ["x"]}, {"query": "c", "positive": "d", "pos": ["y"]}]
    (tmp_path / "f").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole, second = (page_of_pairs(tmp_path / "f", Place(line, 9), limit=9, mapping=None) for line in (0, 1))
    assert second.rows == whole.rows[1:]


def test_a_page_behind_the_end_is_empty_and_broken_lines_before_it_are_not_looked_at(tmp_path: Path) -> None:
    one, other = (json.dumps({"query": anchor, "positive": "b"}) + "\n" for anchor in ("a", "c"))
    (tmp_path / "f").write_text(one + "broken\n" + one + other)
    assert [pair.anchor for _, pair in page_of_pairs(tmp_path / "f", Place(3, 9), limit=9, mapping=None).rows] == ["c"]
    assert page_of_pairs(tmp_path / "f", Place(4, 9), limit=9, mapping=None).rows == ()
    with pytest.raises(DatasetError, match="not JSON"):
        page_of_pairs(tmp_path / "f", Place(1, 9), limit=9, mapping=None)


def test_a_page_of_long_texts_ends_early_and_takes_no_more_memory_than_its_texts(tmp_path: Path) -> None:
    text = "a" * 32_000
    row = json.dumps({"query": "q", "positive": text, "negatives": [text] * 20}) + "\n"
    (tmp_path / "f").write_text(row * 30)
    tracemalloc.start()
    page = page_of_pairs(tmp_path / "f", Place(3, 0), limit=100, mapping=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert page.more and len(page.rows) == MAX_PAGE_CHARACTERS // (21 * 32_000)
    assert peak < 3 * MAX_PAGE_CHARACTERS


@pytest.mark.parametrize("write", [parquet, beir, json_lines])
def test_what_is_read_apart_is_what_is_read_here(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "f")
    found = foreign_page(tmp_path / "f", Place(3, 0), limit=2, mapping=None)
    assert found == page_of_pairs(tmp_path / "f", Place(3, 0), limit=2, mapping=None) and found.more


def test_documents_come_in_pages_too(tmp_path: Path) -> None:
    rows = [{"id": f"d{number}", "title": "t", "text": "x", "metadata": {"n": number}} for number in range(5)]
    (tmp_path / "f").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, more = page_of_documents(tmp_path / "f", 0, limit=3)
    rest, further = page_of_documents(tmp_path / "f", first[-1].line, limit=3)
    assert (first + rest, more, further) == (list(iterate_documents(tmp_path / "f")), True, False)
    assert page_of_documents(tmp_path / "f", 5, limit=3) == ([], False)
