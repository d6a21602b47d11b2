"""A file of pairs is read whole or refused, with line and field."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infonce.errors import ConfigError, DatasetError
from infonce.formats import FileLimits, PairCounts, check_pairs, opened_pairs, read_pairs
from infonce.pairs import Pair

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXTS = st.text(st.characters(categories=["L", "N", "P", "Z"]), max_size=30).map(lambda text: text + "x")
PAIRS = st.lists(st.builds(Pair, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple)), min_size=1, max_size=20)


def written(path: Path, *lines: object) -> Path:
    """A file with one line for each value: bytes as they are, anything else as JSON."""
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in encoded))
    return path


def issues(path: Path, limits: FileLimits | None = None) -> list[tuple[int | None, str | None, str]]:
    """Where and what `check_pairs` finds broken."""
    with pytest.raises(DatasetError) as caught:
        check_pairs(path, limits or FileLimits())
    return [(issue.line, issue.field, issue.code) for issue in caught.value.issues]


@UNHURRIED
@given(PAIRS)
def test_what_was_written_is_read_and_counted(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    lines = [{"query": p.anchor, "positive": p.positive, "negatives": list(p.negatives)} for p in pairs]
    written(path, *lines)
    assert list(read_pairs(path)) == pairs
    num_negatives = sum(len(pair.negatives) for pair in pairs)
    counts = check_pairs(path)
    assert (counts.pairs, counts.negatives, counts.empty_lines, counts.ignored_fields) == (
        len(pairs),
        num_negatives,
        0,
        0,
    )


def test_anchor_is_a_name_for_query_and_negatives_may_be_missing(tmp_path: Path) -> None:
    lines = ({"anchor": "a", "positive": "b"}, {"query": "c", "positive": "d", "negatives": None})
    assert list(read_pairs(written(tmp_path / "f", *lines))) == [Pair("a", "b"), Pair("c", "d")]


def test_other_fields_and_empty_lines_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "f", {"query": "a", "positive": "b", "score": 1, "id": "x"}, b"", b" \r")
    assert check_pairs(path) == PairCounts(pairs=1, negatives=0, duplicates=0, empty_lines=2, ignored_fields=2)


@pytest.mark.parametrize(
    ("line", "field", "code"),
    [
        ({"positive": "b"}, "query", "missing_field"),
        ({"query": "a"}, "positive", "missing_field"),
        ({"query": "a", "anchor": "a", "positive": "b"}, "query", "ambiguous_field"),
        ({"query": 1, "positive": "b"}, "query", "wrong_type"),
        ({"query": "a", "positive": None}, "positive", "wrong_type"),
        ({"query": "a", "positive": ["b"]}, "positive", "wrong_type"),
        ({"query": "a", "positive": "b", "negatives": "c"}, "negatives", "wrong_type"),
        ({"query": "a", "positive": "b", "negatives": ["c", True]}, "negatives[1]", "wrong_type"),
        ({"query": "a", "positive": "b", "negatives": [""]}, "negatives[0]", "empty_text"),
        ({"query": "\u200b", "positive": "b"}, "query", "empty_text"),
        ({"query": "a", "positive": "b\0"}, "positive", "invalid_text"),
        ({"query": "a\ud800", "positive": "b"}, "query", "invalid_text"),
        ({"query": "a" * 32_769, "positive": "b"}, "query", "text_too_long"),
        (["a", "b"], None, "not_an_object"),
        (b"{'query': 'a'}", None, "invalid_json"),
    ],
)
def test_a_broken_line_is_refused_with_its_field(tmp_path: Path, line: object, field: str | None, code: str) -> None:
    good = {"query": "a", "positive": "b"}
    assert issues(written(tmp_path / "f", good, line, good)) == [(2, field, code)]


def test_every_broken_field_of_a_line_is_an_issue(tmp_path: Path) -> None:
    path = written(tmp_path / "f", {"query": " ", "negatives": [1]})
    assert [field for _, field, _ in issues(path)] == ["query", "positive", "negatives[0]"]


def test_the_sentence_names_value_limit_and_remedy(tmp_path: Path) -> None:
    path = written(tmp_path / "f", {"query": "a" * 40_000, "positive": "b"})
    with pytest.raises(DatasetError, match=r"Line 1: query has 40000 characters; the limit is 32768; shorten"):
        check_pairs(path)


@pytest.mark.parametrize("lines", [(), (b"", b"  ")])
def test_a_file_without_pairs_is_refused(tmp_path: Path, lines: tuple[bytes, ...]) -> None:
    path = written(tmp_path / "f", *lines)
    assert issues(path) == [(None, None, "empty_dataset")]
    with pytest.raises(DatasetError, match="no pairs"):
        list(read_pairs(path))


def test_one_broken_line_among_a_thousand_is_found(tmp_path: Path) -> None:
    lines: list[object] = [{"query": f"q{n}", "positive": f"p{n}"} for n in range(1_000)]
    lines[16] = b"oops"
    path = written(tmp_path / "f", *lines)
    assert issues(path) == [(17, None, "invalid_json")]
    with pytest.raises(DatasetError, match="Line 17"):
        list(read_pairs(path))


@pytest.mark.parametrize(
    ("content", "line", "code"),
    [
        (b"\x89PNG\r\n\x1a\n", 1, "not_utf8"),
        (b"\x80\x04\x95\x10", 1, "not_utf8"),
        ('{"query": "a"}'.encode("utf-16"), 1, "not_utf8"),
        (b"GIF89a;", 1, "unknown_header"),
        (b"PK\x03\x04\xff\xfe", None, "corrupt_zip"),
        (b"PAR1\xff", None, "corrupt_parquet"),
        (b"\x1f\x8b\xff", None, "corrupt_gzip"),
        (b"\x28\xb5\x2f\xfd\xff", None, "corrupt_zstd"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, line: int | None, code: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    assert issues(path)[0] == (line, None, code)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    line = json.dumps({"query": "a" * 500, "positive": "b" * 500}).encode() + b"\n"
    path.write_bytes(line * 5_000 + b"oops\n" * 5_000)  # 5 MB
    tracemalloc.start()
    with pytest.raises(DatasetError):
        check_pairs(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_memory_does_not_grow_with_the_names_of_ignored_fields(tmp_path: Path) -> None:
    path = tmp_path / "f"
    rows = [{"query": "a", "positive": f"b {n}", f"{n}" + "c" * 200_000: 1} for n in range(50)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))  # 10 MB
    tracemalloc.start()
    assert check_pairs(path).ignored_fields == 50
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    with opened_pairs(path) as reader:
        assert len(list(reader)) == 50 and max(map(len, reader.ignored_names)) == 100


def test_a_limit_of_nothing_is_no_limit_to_work_with() -> None:
    with pytest.raises(ConfigError, match="max_lines"):
        FileLimits(max_lines=0)
