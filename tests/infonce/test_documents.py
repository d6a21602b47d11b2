"""A file of documents: every line that is none is named, whatever a collection could not hold is refused."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from infonce.documents import check_documents, iterate_documents, read_documents
from infonce.errors import DatasetError
from infonce.file_limits import FileLimits

FIRST = b'{"text": "first", "id": "a", "metadata": {"lang": "en", "tags": ["x", null]}}\n'


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (b"[]", "not_an_object", None),
        (b"{}", "missing_field", "text"),
        (b'{"text": " "}', "empty_text", "text"),
        (b'{"text": 5}', "wrong_type", "text"),
        (b'{"text": "' + b"a" * 262_145 + b'"}', "text_too_long", "text"),
        (b'{"text": "\\u0000"}', "invalid_text", "text"),
        (b'{"text": "t", "title": 1}', "wrong_type", "title"),
        (b'{"text": "t", "id": "a"}', "duplicate_id", "id"),
        (b'{"text": "t", "id": ""}', "empty_text", "id"),
        (b'{"text": "t", "id": "a\\tb"}', "invalid_text", "id"),
        (b'{"text": "t", "metadata": []}', "invalid_value", "metadata"),
        (b'{"text": "t", "metadata": {"a": {}}}', "invalid_value", "metadata"),
        (b'{"text": "t", "metadata": {"a": 1e300}}', "invalid_value", "metadata"),
        (b'{"text": "t"', "invalid_json", None),
        (b"\xff", "not_utf8", None),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: bytes, code: str, field: str | None) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(FIRST + line + b"\n")
    with pytest.raises(DatasetError) as refused:
        check_documents(path)
    [issue] = refused.value.issues
    assert (issue.line, issue.code, issue.field) == (2, code, field)


def test_documents_are_read_as_they_were_written_packed_or_not(tmp_path: Path) -> None:
    other = {"_id": 7, "title": "Title", "text": "text", "url": "u"}
    content = FIRST + b"\n" + json.dumps(other).encode()
    for name, written in (("plain", content), ("packed", gzip.compress(content))):
        (tmp_path / name).write_bytes(written)
        found = list(iterate_documents(tmp_path / name))
        assert [(one.line, one.id, one.text) for one in found] == [(1, "a", "first"), (3, "7", "Title text")]
        assert found[0].metadata == {"lang": "en", "tags": ["x", None]} and found[1].metadata == {}
        counts = check_documents(tmp_path / name)
        assert (counts.documents, counts.longest_characters, counts.empty_lines, counts.ignored_fields) == (2, 10, 1, 1)


def test_a_file_without_documents_or_with_too_many_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n\n")
    with pytest.raises(DatasetError, match="no documents"):
        check_documents(tmp_path / "empty")
    (tmp_path / "many").write_bytes(b'{"text": "a"}\n' * 4)
    with pytest.raises(DatasetError, match="more than 3 lines"):
        check_documents(tmp_path / "many", FileLimits(max_documents=3))


def test_what_is_to_stand_in_a_pair_is_held_to_its_length(tmp_path: Path) -> None:
    (tmp_path / "long").write_text(json.dumps({"text": "a" * 40_000}))
    assert check_documents(tmp_path / "long").longest_characters == 40_000
    with pytest.raises(DatasetError, match="limit is 32768"):
        read_documents(tmp_path / "long")


def test_long_ids_are_told_apart_and_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    written = [json.dumps({"id": "é" * 490 + str(number), "text": "t"}) + "\n" for number in range(5_000)]
    path.write_text("".join(written))
    tracemalloc.start()
    assert check_documents(path).documents == 5_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000
    path.write_text("".join([*written, written[77]]))
    with pytest.raises(DatasetError) as refused:
        check_documents(path)
    assert [(issue.line, issue.code) for issue in refused.value.issues] == [(5_001, "duplicate_id")]
