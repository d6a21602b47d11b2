"""A JSON list of objects holds what lines of objects hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infonce.errors import DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs, read_pairs
from infonce.pairs import Pair

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAIR = '{"query": "a", "positive": "b"}'
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(lambda text: text + "x")


def issues(path: Path, content: str | bytes, limits: FileLimits | None = None) -> list[tuple[int | None, str]]:
    """Line and code of all that is broken."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError) as caught:
        check_pairs(path, limits or FileLimits())
    return [(issue.line, issue.code) for issue in caught.value.issues]


@UNHURRIED
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=9), st.sampled_from([None, 2]), st.booleans())
def test_a_list_is_read_however_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]], indent: int | None, plain: bool
) -> None:
    path = tmp_path_factory.mktemp("list") / "f"
    objects = [{"query": query, "positive": positive} for query, positive in texts]
    path.write_text(json.dumps(objects, indent=indent, ensure_ascii=plain), encoding="utf-8-sig")
    assert list(read_pairs(path)) == [Pair(*pair) for pair in texts]


def test_a_list_longer_than_a_piece_is_read_on_one_line_and_on_many(tmp_path: Path) -> None:
    objects: list[Any] = [{"query": f"q{n}", "positive": "é" * 900, "negatives": ["n" * 30_000]} for n in range(99)]
    wanted = [Pair(row["query"], row["positive"], tuple(row["negatives"])) for row in objects]
    for indent in (None, 1):
        (tmp_path / "f").write_text(json.dumps(objects, indent=indent, ensure_ascii=False))
        assert list(read_pairs(tmp_path / "f")) == wanted


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[]", [(None, "empty_dataset")]),
        (f"[{PAIR},\n5,\n{PAIR},\n[]]", [(2, "not_an_object"), (4, "not_an_object")]),
        (f"[{PAIR},\n\n{{}}]", [(3, "missing_field"), (3, "missing_field")]),
        (f"[{PAIR}\n{PAIR}]", [(2, "invalid_json")]),
        (f"[{PAIR},\n]", [(2, "invalid_json")]),
        (f"[{PAIR},\n", [(2, "invalid_json")]),
        (f"[{PAIR}", [(1, "invalid_json")]),
        (f"[{PAIR}]\n{PAIR}", [(2, "invalid_json")]),
        (f"[{PAIR},\n{{'query': 1}}]", [(2, "invalid_json")]),
        (f'[{PAIR},\n{{"a": NaN}}]', [(2, "invalid_json")]),
        ("[" * 100_000, [(1, "invalid_json")]),
        (b"[\n\xff]", [(2, "not_utf8")]),
        (b'[\n\n{"query": "\xc3', [(3, "not_utf8")]),
    ],
)
def test_a_broken_list_is_refused_by_line(tmp_path: Path, content: str | bytes, found: list[Any]) -> None:
    assert issues(tmp_path / "f", content) == found


def test_an_object_over_the_limit_and_one_too_many_are_refused(tmp_path: Path) -> None:
    limits = FileLimits(max_line_bytes=200_000, max_lines=2)
    assert issues(tmp_path / "f", f"[{PAIR},\n{PAIR},\n{PAIR}]", limits) == [(3, "too_many_rows")]
    long = '{"query": "a", "positive": "b", "x": "' + "x" * 400_000
    assert issues(tmp_path / "f", f"[{PAIR},\n{long}", limits) == [(2, "line_too_long")]
    assert issues(tmp_path / "f", f'[{PAIR},\n{long}"}}]', limits) == [(2, "line_too_long")]
