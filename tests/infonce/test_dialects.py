"""Pairs are found in everybody's fields, or in those that a mapping names; nothing of them is cut."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from infonce.dialects import FieldMapping
from infonce.errors import ConfigError, DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs, read_pairs
from infonce.pairs import Pair

WANTED = [Pair("a", "b", ("c", "d")), Pair("a", "e", ("c", "d")), Pair("f", "g")]

SEVERAL: dict[str, list[dict[str, Any]]] = {
    "FlagEmbedding": [{"query": "a", "pos": ["b", "e"], "neg": ["c", "d"]}, {"query": "f", "pos": ["g"], "neg": []}],
    "NeMo": [{"query": "a", "pos_doc": ["b", "e"], "neg_doc": ["c", "d"]}, {"query": "f", "pos_doc": "g"}],
    "Cohere": [
        {"query": "a", "relevant_passages": ["b", "e"], "hard_negatives": ["c", "d"]},
        {"query": "f", "relevant_passages": ["g"]},
    ],
}
SINGLE: dict[str, list[dict[str, Any]]] = {
    "ours": [
        {"query": "a", "positive": "b", "negatives": ["c", "d"]},
        {"anchor": "a", "positive": "e", "negatives": ["c", "d"]},
        {"query": "f", "positive": "g", "negatives": None},
    ],
    "sentence-transformers": [
        {"anchor": "a", "positive": "b", "negative_1": "c", "negative_2": "d"},
        {"anchor": "a", "positive": "e", "negative": "c", "negative_1": "d", "negative_2": None},
        {"anchor": "f", "positive": "g"},
    ],
}


def written(path: Path, *rows: object) -> Path:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", SEVERAL | SINGLE)
def test_each_dialect_is_found_and_no_positive_or_negative_is_lost(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "f", *(SEVERAL | SINGLE)[name])
    assert list(read_pairs(path)) == WANTED
    counts = check_pairs(path)
    assert (counts.pairs, counts.negatives, counts.ignored_fields) == (3, 4, 0)


def test_the_fields_of_autotrain_are_pairs_and_a_third_one_is_a_negative(tmp_path: Path) -> None:
    rows = {"sentence1": "a", "sentence2": "b", "sentence3": "c"}, {"sentence1": "f", "sentence2": "g"}
    assert list(read_pairs(written(tmp_path / "f", *rows))) == [Pair("a", "b", ("c",)), Pair("f", "g")]


def test_what_flagembedding_writes_beside_its_texts_is_ignored_and_counted(tmp_path: Path) -> None:
    row = {"query": "a", "pos": ["b"], "neg": ["c"], "pos_scores": [1.0], "neg_scores": [0.1], "prompt": "p"}
    assert check_pairs(written(tmp_path / "f", row, row)).ignored_fields == 6


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        ({"query": "a", "pos": []}, "pos", "missing_field"),
        ({"query": "a", "pos": ["b", " "]}, "pos[1]", "empty_text"),
        ({"query": "a", "pos": ["b"], "neg": [5]}, "neg[0]", "wrong_type"),
        ({"query": "a", "positive": "b"}, "pos", "missing_field"),
        ({"anchor": "a", "pos": ["b"]}, "query", "missing_field"),
    ],
)
def test_a_broken_row_of_a_dialect_is_named_in_its_words(tmp_path: Path, row: object, field: str, code: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_pairs(written(tmp_path / "f", {"query": "a", "pos": ["b"]}, row))
    assert [(issue.line, issue.field, issue.code) for issue in caught.value.issues] == [(2, field, code)]


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("name", ["ours", "sentence-transformers", "AutoTrain"])
def test_a_table_holds_what_lines_of_json_hold(tmp_path: Path, name: str, delimiter: str) -> None:
    columns = {
        "ours": ["query", "positive", "negative"],
        "sentence-transformers": ["anchor", "positive", "negative_1"],
        "AutoTrain": ["sentence1", "sentence2", "sentence3"],
    }[name]
    cells = [["a, b\tc", 'say "hi"\nto all', "x"], ["=cmd()", "é\u2028", ""]]
    with (tmp_path / "f").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *cells])
    wanted = [Pair(cells[0][0], cells[0][1], ("x",)), Pair(*cells[1][:2])]
    assert list(read_pairs(tmp_path / "f")) == wanted
    assert (
        list(read_pairs(written(tmp_path / "j", *(dict(zip(columns, row, strict=True)) for row in cells[:1]))))
        == (wanted[:1])
    )


MAPPING = FieldMapping(anchor="q", positive="a", negatives=("n1", "n2"))


def test_a_mapping_counts_instead_of_every_dialect(tmp_path: Path) -> None:
    row = {"q": "a", "a": ["b", "e"], "n1": ["c"], "n2": "d", "query": "x", "positive": "y"}
    path = written(tmp_path / "f", row, {"q": "f", "a": "g", "n1": None})
    assert list(read_pairs(path, mapping=MAPPING)) == WANTED
    assert check_pairs(path, mapping=MAPPING).ignored_fields == 2
    (tmp_path / "t").write_text("id\tq\ta\tn2\n1\tf\tg\t\n")
    assert list(read_pairs(tmp_path / "t", mapping=MAPPING)) == WANTED[2:]


def test_a_field_that_the_mapping_names_and_the_row_lacks_is_an_issue(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Line 1: q is missing"):
        check_pairs(written(tmp_path / "f", {"query": "a", "a": "b"}), mapping=MAPPING)


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"anchor": "q"},
        {"anchor": "q", "positive": 5},
        {"anchor": "q", "positive": ""},
        {"anchor": "q", "positive": "a\ud800"},
        {"anchor": "q" * 201, "positive": "a"},
        {"anchor": "q", "positive": "q"},
        {"anchor": "q", "positive": "a", "negatives": 5},
        {"anchor": "q", "positive": "a", "negatives": ["n", None]},
        {"anchor": "q", "positive": "a", "negative": ["n"]},
        {"anchor": "q", "positive": "a", "negatives": [f"n{number}" for number in range(2_000)]},
    ],
)
def test_a_mapping_that_is_none_is_refused(values: object) -> None:
    with pytest.raises(ConfigError, match=r"mapping|field"):
        FieldMapping.from_dict(values)


def test_a_mapping_is_what_was_written_of_it() -> None:
    assert FieldMapping.from_dict(json.loads(json.dumps(MAPPING.to_dict()))) == MAPPING
    assert FieldMapping.from_dict({"anchor": "q", "positive": "a", "negatives": "n"}).negatives == ("n",)


def test_the_limit_of_lines_is_one_of_pairs_too(tmp_path: Path) -> None:
    path = written(tmp_path / "f", {"query": "a", "pos": ["b", "c"]}, {"query": "d", "pos": ["e", "f"]})
    assert check_pairs(path, FileLimits(max_lines=4)).pairs == 4
    with pytest.raises(DatasetError, match="Line 2: there are more than 3 pairs"):
        check_pairs(path, FileLimits(max_lines=3))
