"""Issues, statistics and cleaned files of uploads, over HTTP."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infonce.audit import audit_file
from infonce.length_picture import TokenCounter
from service.audits import Audits
from service.errors import Unavailable
from service.settings import GatewaySettings
from service.store import files
from service.store.audit_files import KEPT_OF_A_FILE, write_audit
from tests.factories import tiny_model
from tests.service.conftest import BASE, PAIR, Gateway, lines, problem

ROWS: list[dict[str, Any]] = [
    PAIR | {"negatives": ["the cat purrs", "the dog  BARKS"]},
    {"query": "which pet purrs", "positive": "the cat purrs", "label": 0},
    {"query": "same", "positive": "same"},
    {"query": "which pet purrs", "positive": "the cat purrs"},
    {"query": "long", "positive": "word " * 90},
]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("audits") / "tiny")


@pytest.fixture
def gateway(serve: Callable[..., Gateway], settings: GatewaySettings, tokenizer: Path) -> Gateway:
    """A gateway whose base model has a tokenizer."""
    assert settings.hub.models_root is not None
    shutil.copytree(tokenizer, settings.hub.models_root / BASE, dirs_exist_ok=True)
    return serve()


def uploaded(gateway: Gateway, rows: list[dict[str, Any]]) -> str:
    return str(gateway.upload(lines(rows)).json()["id"])


def asked(gateway: Gateway, url: str) -> dict[str, Any]:
    """The answer, once there is one: a busy machine may need more than one request."""
    end = time.monotonic() + 60.0
    while (answer := gateway.http.get(url)).status_code == 503:
        assert time.monotonic() < end, answer.text
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_issues_are_those_of_the_library_with_their_lines(gateway: Gateway, tokenizer: Path) -> None:
    id = uploaded(gateway, ROWS)
    body = asked(gateway, f"/v1/files/{id}/issues?model={BASE}")
    counter = TokenCounter.of(tokenizer, BASE)
    found = audit_file(gateway.parts.artifacts.file_path(id), counter=counter).to_dict()
    assert body == {"object": "file.issues", "file": id, "findings": found["findings"]}
    lines_of = {finding["code"]: [issue["line"] for issue in finding["issues"]] for finding in body["findings"]}
    assert lines_of["conflicting_pair"] == [1] and lines_of["query_equals_positive"] == [3]
    assert lines_of["duplicate_pair"] == [4] and lines_of["truncated_text"] == [5]
    assert "label_ignored" in lines_of


def test_the_numbers_count_tokens_of_the_model_and_overlap_with_a_held_out_file(gateway: Gateway) -> None:
    id, held_out = uploaded(gateway, ROWS), uploaded(gateway, [PAIR, {"query": "new", "positive": "the cat purrs"}])
    body = asked(gateway, f"/v1/files/{id}/stats?model={BASE}&held_out={held_out}")
    assert (body["pairs"], body["negatives"], body["duplicates"]) == (5, 2, 1)
    assert body["overlap"] == {"file": held_out, "pairs": 2, "queries": 1, "positives": 3, "both": 1}
    assert body["lengths"]["model"] == BASE and body["lengths"]["documents"]["truncated"] == 1


def test_an_audit_is_made_once_and_goes_with_its_file(gateway: Gateway) -> None:
    id = uploaded(gateway, ROWS)
    asked(gateway, f"/v1/files/{id}/issues?model={BASE}")
    (kept,) = [name for name in gateway.artifacts() if name.startswith("audits/")]
    path = gateway.parts.artifacts.root / kept
    audit = json.loads(path.read_text())
    path.write_text(json.dumps(audit | {"pairs": 77}))
    assert asked(gateway, f"/v1/files/{id}/stats?model={BASE}")["pairs"] == 77
    gateway.http.delete(f"/v1/files/{id}")
    assert gateway.artifacts() == []


def test_who_asks_while_an_audit_is_made_hears_how_far_it_is(gateway: Gateway, until: Callable[..., None]) -> None:
    id = uploaded(gateway, [{"query": f"q {n}", "positive": f"a {n}"} for n in range(3_000)])
    with gateway.parts.database.read() as tx:
        record = files.get_file(tx, "default", id=id)
    audits = Audits(gateway.parts.artifacts, wait_seconds=0.0)
    for _ in range(2):
        with pytest.raises(Unavailable, match=id) as caught:
            audits.of(record, held_out=None, model=None)
        assert caught.value.code == "audit_running" and caught.value.retry_after_seconds >= 1
    until(lambda: any(name.startswith("audits/") for name in gateway.artifacts()))
    assert audits.of(record, held_out=None, model=None)["pairs"] == 3_000
    assert len([name for name in gateway.artifacts() if name.startswith("audits/")]) == 1
    audits.close()


def test_a_flood_of_audits_leaves_other_projects_their_places(gateway: Gateway) -> None:
    id = uploaded(gateway, [{"query": f"q {n}", "positive": f"a {n}"} for n in range(3_000)])
    with gateway.parts.database.read() as tx:
        record = files.get_file(tx, "default", id=id)
    audits = Audits(gateway.parts.artifacts, wait_seconds=0.0)

    def code(project: str, number: int) -> str:
        wanted = replace(record, project=project, sha256=record.sha256 if number == 0 else str(number))
        with pytest.raises(Unavailable) as caught:
            audits.of(wanted, held_out=None, model=None)
        return caught.value.code

    assert [code("default", number) for number in range(6)] == ["audit_running"] * 4 + ["overloaded"] * 2
    assert [code("other", number) for number in (10, 11)] == ["audit_running"] * 2
    assert code("default", 0) == "audit_running", "who asks again for what is made takes no new place"
    audits.close()


def test_what_took_its_process_down_is_not_tried_again_at_once(gateway: Gateway, until: Callable[..., None]) -> None:
    id = uploaded(gateway, [{"query": f"q {n}", "positive": f"a {n}"} for n in range(3_000)])
    with gateway.parts.database.read() as tx:
        record = files.get_file(tx, "default", id=id)
    audits = Audits(gateway.parts.artifacts, wait_seconds=0.0)

    def code() -> str:
        with pytest.raises(Unavailable) as caught:
            audits.of(record, held_out=None, model=None)
        return caught.value.code

    assert code() == "audit_running"
    until(lambda: auditing(id) != [])
    for pid in auditing(id):
        os.kill(pid, signal.SIGKILL)
    until(lambda: code() == "unavailable")
    assert (code(), auditing(id)) == ("unavailable", [])
    audits.close()


def test_a_cleaning_whose_process_dies_is_no_fault_of_ours_and_leaves_nothing(
    gateway: Gateway, until: Callable[..., None]
) -> None:
    id = uploaded(gateway, [{"query": f"q {n}", "positive": f"a {n}"} for n in range(20_000)])
    answers: list[Any] = []
    ask = Thread(target=lambda: answers.append(gateway.http.post(f"/v1/files/{id}/clean")))
    ask.start()
    until(lambda: auditing(id) != [])
    for pid in auditing(id):
        os.kill(pid, signal.SIGKILL)
    ask.join()
    assert "make memory free" in problem(answers[0], 503, "unavailable")["detail"]
    assert gateway.artifacts() == [f"files/{id}"]


def auditing(id: str) -> list[int]:
    """The processes that audit the file."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            said = path.read_bytes()
            if b"infonce.audit_apart" in said and id.encode() in said:
                found.append(int(path.parent.name))
    return found


def test_few_audits_of_a_file_are_kept_and_none_of_one_that_is_gone(gateway: Gateway) -> None:
    id, artifacts = uploaded(gateway, [PAIR]), gateway.parts.artifacts
    for number in range(11):
        write_audit(artifacts, id, key=f"{number:02}", audit={"number": number})
        os.utime(artifacts.root / "audits" / f"{id}.{number:02}.json", (number, number))
    kept = [name for name in gateway.artifacts() if name.startswith("audits/")]
    assert kept == [f"audits/{id}.{number:02}.json" for number in range(11 - KEPT_OF_A_FILE, 11)]
    gateway.http.delete(f"/v1/files/{id}")
    write_audit(artifacts, id, key="late", audit={})
    assert gateway.artifacts() == []


@pytest.mark.parametrize(("method", "name"), [("GET", "stats"), ("POST", "clean")])
def test_what_is_deleted_while_it_is_read_is_not_found_and_leaves_nothing(
    gateway: Gateway, until: Callable[..., None], method: str, name: str
) -> None:
    id = uploaded(gateway, [{"query": f"q {n}", "positive": f"a {n}"} for n in range(3_000)])
    answers: list[Any] = []
    ask = Thread(target=lambda: answers.append(gateway.http.request(method, f"/v1/files/{id}/{name}")))
    ask.start()
    assert gateway.http.delete(f"/v1/files/{id}").is_success
    ask.join()
    assert answers[0].status_code in (200, 404), answers[0].text
    if name == "clean" and answers[0].is_success:
        assert gateway.http.delete(f"/v1/files/{answers[0].json()['id']}").is_success
    until(lambda: gateway.artifacts() == [])


def test_requests_at_once_share_one_audit(gateway: Gateway) -> None:
    id = uploaded(gateway, ROWS)
    answers: list[Any] = []
    ask = [Thread(target=lambda: answers.append(asked(gateway, f"/v1/files/{id}/stats"))) for _ in range(4)]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert [answer["pairs"] for answer in answers] == [5] * 4
    assert len([name for name in gateway.artifacts() if name.startswith("audits/")]) == 1


def test_a_cleaned_file_names_its_parent_and_has_no_such_findings(gateway: Gateway) -> None:
    id = uploaded(gateway, ROWS)
    made = gateway.http.post(f"/v1/files/{id}/clean").json()
    assert (made["parent"], made["purpose"], made["filename"]) == (id, "fine-tune", "pairs.clean.jsonl")
    assert (made["counts"]["pairs"], made["counts"]["negatives"], made["counts"]["duplicates"]) == (3, 1, 0)
    found = asked(gateway, f"/v1/files/{made['id']}/issues?model={BASE}")["findings"]
    assert {finding["code"] for finding in found} == {"truncated_text", "ignored_field"}
    assert gateway.http.get(f"/v1/files/{id}").json()["counts"]["pairs"] == 5


@pytest.mark.parametrize("query", ["issues?model=nope", "stats?model=nope", "stats?held_out=file-" + "0" * 26])
def test_what_is_not_there_is_not_found(gateway: Gateway, query: str) -> None:
    code = "model_not_found" if "model" in query else "not_found"
    problem(gateway.http.get(f"/v1/files/{uploaded(gateway, ROWS)}/{query}"), 404, code)


def test_a_file_of_which_nothing_is_left_makes_no_new_one(gateway: Gateway) -> None:
    id = uploaded(gateway, [{"query": "same", "positive": "same"}])
    body = problem(gateway.http.post(f"/v1/files/{id}/clean"), 422, "dataset_invalid")
    assert body["errors"][0]["code"] == "empty_dataset"
    assert gateway.artifacts() == [f"files/{id}"]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([PAIR] * 99, "degenerate_dataset"),
        ([{"query": text, "positive": text} for text in ("one", "two", "three")], "degenerate_dataset"),
        ([PAIR | {"label": 0}, PAIR | {"label": 1, "positive": "the cat"}], "label_ignored"),
        ([PAIR | {"source": "x"}], "ignored_field"),
    ],
    ids=["H31 all the same", "H32 query == positive everywhere", "a label column", "H28 extra keys"],
)
def test_what_refuses_no_file_is_an_issue_of_it(gateway: Gateway, rows: list[dict[str, Any]], code: str) -> None:
    found = asked(gateway, f"/v1/files/{uploaded(gateway, rows)}/issues")["findings"]
    assert code in {finding["code"] for finding in found}
