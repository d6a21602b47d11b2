"""An eval set is read as BEIR writes it, or refused with member and line."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from infonce.dialects import FieldMapping
from infonce.errors import DatasetError
from infonce.formats import FileLimits, check_pairs, read_pairs
from infonce.pairs import Pair
from infonce.qrels import EvalCounts, EvalSet, check_beir, read_beir, write_beir

CORPUS = ({"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "title": "", "text": "second"})
QUERIES = ({"_id": "q1", "text": "which?"}, {"_id": "q2", "text": "unjudged"})
HEADER = "query-id\tcorpus-id\tscore\n"
JUDGED = EvalSet(corpus={"d1": "One first", "d2": "second"}, queries={"q1": "which?"}, qrels={"q1": {"d1": 2, "d2": 0}})


def lines(*values: object) -> str:
    """JSON lines."""
    return "".join(json.dumps(value) + "\n" for value in values)


def zipped(path: Path, changes: Mapping[str, str | None] | None = None, *, folder: str = "") -> Path:
    """A good eval file but for the changed members; a member that is None is left out."""
    members = {"corpus.jsonl": lines(*CORPUS), "queries.jsonl": lines(*QUERIES)}
    members |= {"qrels/test.tsv": HEADER + "q1\td1\t2\nq1\td2\t0\n"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | dict(changes or {})).items():
            if content is not None:
                archive.writestr(folder + name, content)
    return path


def issues(path: Path, limits: FileLimits | None = None) -> list[tuple[int | None, str, str]]:
    """Line, code and sentence of each issue; checking finds what reading finds."""
    found = []
    for read in (read_beir, check_beir):
        with pytest.raises(DatasetError) as caught:
            read(path, limits or FileLimits())
        found.append([(issue.line, issue.code, issue.detail) for issue in caught.value.issues])
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("folder", ["", "scifact/"])
@pytest.mark.parametrize("header", ["", HEADER, "\ufeff" + HEADER])
@pytest.mark.parametrize("judgements", ["qrels/test.tsv", "qrels/dev.tsv", "qrels.tsv"])
def test_each_layout_of_beir_is_read(tmp_path: Path, folder: str, header: str, judgements: str) -> None:
    changes = {"qrels/test.tsv": None, judgements: header + "q1\td1\t2\r\nq1\td2\t0"}
    path = zipped(tmp_path / "z", changes, folder=folder)
    assert read_beir(path) == JUDGED
    assert check_beir(path) == EvalCounts(documents=2, queries=1, judgements=2)


def test_the_test_judgements_are_taken_where_there_are_others(tmp_path: Path) -> None:
    assert read_beir(zipped(tmp_path / "z", {"qrels/train.tsv": "q2\td1\t1\n", "qrels.tsv": "oops"})) == JUDGED


def test_numbers_are_ids_and_id_is_a_name_for_them(tmp_path: Path) -> None:
    changes = {"corpus.jsonl": lines({"id": 7, "text": "seven"}), "queries.jsonl": lines({"_id": 1, "text": "a"})}
    found = read_beir(zipped(tmp_path / "z", changes | {"qrels/test.tsv": "1\t7\t1\n"}))
    assert found == EvalSet(corpus={"7": "seven"}, queries={"1": "a"}, qrels={"1": {"7": 1}})


def test_what_was_written_is_read_and_equal_sets_give_equal_files(tmp_path: Path) -> None:
    judged = EvalSet(corpus={"d 1": 'a\u2028b\n"c"', "ü": "x"}, queries={"q": "y"}, qrels={"q": {"ü": -1, "d 1": 3}})
    write_beir(judged, tmp_path / "one")
    write_beir(judged, tmp_path / "two")
    assert read_beir(tmp_path / "one") == judged
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("member", "content", "line", "code"),
    [
        ("corpus.jsonl", lines(*CORPUS, CORPUS[0]), 3, "duplicate_id"),
        ("corpus.jsonl", lines({"text": "a"}), 1, "missing_field"),
        ("corpus.jsonl", lines({"_id": "", "text": "a"}), 1, "empty_text"),
        ("corpus.jsonl", lines({"_id": "a\tb", "text": "a"}), 1, "invalid_text"),
        ("corpus.jsonl", lines({"_id": True, "text": "a"}), 1, "wrong_type"),
        ("corpus.jsonl", lines({"_id": "x" * 513, "text": "a"}), 1, "text_too_long"),
        ("corpus.jsonl", lines({"_id": "d", "title": 1, "text": "a"}), 1, "wrong_type"),
        ("corpus.jsonl", lines({"_id": "d", "title": " ", "text": ""}), 1, "empty_text"),
        ("corpus.jsonl", lines({"_id": "d", "text": "x" * 262_145}), 1, "text_too_long"),
        ("corpus.jsonl", "oops\n", 1, "invalid_json"),
        ("corpus.jsonl", "\n", None, "empty_dataset"),
        ("queries.jsonl", lines(*QUERIES, {"_id": "q3"}), 3, "missing_field"),
        ("queries.jsonl", lines({"_id": "q1", "text": "x" * 32_769}), 1, "text_too_long"),
        ("qrels/test.tsv", HEADER + "q9\td1\t1\n", 2, "unknown_query"),
        ("qrels/test.tsv", "q1\td9\t1\n", 1, "unknown_document"),
        ("qrels/test.tsv", "q1\td1\t0.5\n", 1, "invalid_grade"),
        ("qrels/test.tsv", HEADER + HEADER, 2, "invalid_grade"),
        ("qrels/test.tsv", "q1\td1\n", 1, "wrong_columns"),
        ("qrels/test.tsv", "q1 d1 1\n", 1, "wrong_columns"),
        ("qrels/test.tsv", "q1\t0\td1\t1\n", 1, "trec_qrels"),
        ("qrels/test.tsv", "q1 0 d1 1\n", 1, "trec_qrels"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t2\n", 2, "conflicting_judgement"),
        ("qrels/test.tsv", HEADER + "q1\td1\t0\n", None, "no_relevant_document"),
        ("qrels/test.tsv", "", None, "no_relevant_document"),
    ],
)
def test_a_broken_line_is_refused_with_its_member(
    tmp_path: Path, member: str, content: str, line: int | None, code: str
) -> None:
    found = issues(zipped(tmp_path / "z", {member: content}))
    assert [(number, what) for number, what, _ in found] == [(line, code)]
    assert found[0][2].startswith(f"{member}: ")


def test_title_and_text_are_measured_together(tmp_path: Path) -> None:
    document = {"_id": "d", "title": "x" * 200_000, "text": "x" * 100_000}
    assert issues(zipped(tmp_path / "z", {"corpus.jsonl": lines(document)}))[0][1] == "text_too_long"


def test_the_longest_document_is_read_however_it_is_escaped(tmp_path: Path) -> None:
    document = {"_id": "d1", "text": "😀" * 262_144}
    changes = {"corpus.jsonl": lines(document), "qrels/test.tsv": "q1\td1\t1\n"}
    assert len(read_beir(zipped(tmp_path / "z", changes)).corpus["d1"]) == 262_144


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_member_is_named(tmp_path: Path, missing: str) -> None:
    [(line, code, detail)] = issues(zipped(tmp_path / "z", {missing: None}))
    assert (line, code) == (None, "missing_member")
    assert missing in detail


@pytest.mark.parametrize(
    "changes",
    [
        {"other/corpus.jsonl": lines(*CORPUS)},
        {"qrels/test.tsv": None, "qrels/dev.tsv": "q1\td1\t1\n", "qrels/train.tsv": "q1\td1\t1\n"},
    ],
)
def test_a_choice_is_not_guessed(tmp_path: Path, changes: dict[str, str | None]) -> None:
    assert issues(zipped(tmp_path / "z", changes))[0][1] == "ambiguous_member"


def test_broken_texts_do_not_make_issues_of_their_judgements(tmp_path: Path) -> None:
    found = issues(zipped(tmp_path / "z", {"corpus.jsonl": lines({"_id": "d1"}, {"_id": "d2"}), "queries.jsonl": "[]"}))
    assert [(line, code) for line, code, _ in found] == [
        (1, "missing_field"),
        (2, "missing_field"),
        (1, "not_an_object"),
    ]


def test_too_many_documents_are_refused(tmp_path: Path) -> None:
    assert issues(zipped(tmp_path / "z"), FileLimits(max_documents=1))[0][:2] == (2, "too_many_rows")


def test_a_long_foreign_name_is_cut_in_the_message(tmp_path: Path) -> None:
    [(_, _, detail)] = issues(zipped(tmp_path / "z", {"qrels/test.tsv": "x\x1b" + "y" * 1_000 + "\td1\t1\n"}))
    assert len(detail) < 150 and "\x1b" not in detail


@pytest.mark.parametrize(("query", "document"), [("q2", "d"), ("q", "d2")])
def test_an_eval_set_judges_only_what_it_holds(query: str, document: str) -> None:
    with pytest.raises(DatasetError, match="which is not"):
        EvalSet(corpus={"d": "a"}, queries={"q": "b"}, qrels={query: {document: 1}})


def test_judgements_are_pairs_to_train_on(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z", {"qrels/train.tsv": HEADER + "q2\td2\t1\nq2\td1\t0\nq1\td1\t1\nq1\td2\t2\n"})
    assert list(read_pairs(path)) == [
        Pair("unjudged", "second", ("One first",)),
        Pair("which?", "One first"),
        Pair("which?", "second"),
    ]
    assert (check_pairs(path).pairs, check_pairs(path).negatives) == (3, 1)


def test_the_only_judgements_are_those_to_train_on_and_of_several_none_is_guessed(tmp_path: Path) -> None:
    assert list(read_pairs(zipped(tmp_path / "z"))) == [Pair("which?", "One first", ("second",))]
    with pytest.raises(DatasetError, match=r"name one qrels/train\.tsv"):
        check_pairs(zipped(tmp_path / "y", {"qrels/dev.tsv": HEADER + "q1\td1\t1\n"}))


def test_a_zip_needs_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leave the mapping out"):
        check_pairs(zipped(tmp_path / "z"), mapping=FieldMapping(anchor="a", positive="b"))


@pytest.mark.parametrize("folder", ["", "scifact/"])
def test_a_folder_holds_what_its_zip_holds(tmp_path: Path, folder: str) -> None:
    path = zipped(tmp_path / "z", folder=folder)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert read_beir(tmp_path / "unpacked") == read_beir(path) == JUDGED
    assert list(read_pairs(tmp_path / "unpacked")) == list(read_pairs(path))
    with pytest.raises(DatasetError, match=r"no corpus\.jsonl"):
        read_beir(tmp_path / "unpacked" / folder / "qrels")
