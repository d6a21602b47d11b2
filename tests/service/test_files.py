"""Uploads: all of a file or nothing of it."""

import base64
import hashlib
import json
import resource
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.forms import label
from service.store import files
from service.store.records import Page
from tests.service.conftest import PAIR, Gateway, Live, lines, problem

FORM = {"content-type": "multipart/form-data; boundary=abc"}


def part(name: str, content: str, filename: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    return f'--abc\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n{content}\r\n'.encode()


def test_an_upload_is_kept_with_its_size_checksum_and_counts(gateway: Gateway) -> None:
    content = lines([PAIR, PAIR | {"negatives": ["a cat", "a bird"], "source": "x"}])
    file = gateway.upload(content, name="faq.jsonl").json()
    assert file["counts"] == {
        "pairs": 2,
        "negatives": 2,
        "duplicates": 1,
        "empty_lines": 0,
        "ignored_fields": 1,
    }
    assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (file["object"], file["status"], file["purpose"], file["filename"]) == (
        "file",
        "processed",
        "fine-tune",
        "faq.jsonl",
    )
    assert gateway.parts.artifacts.file_path(file["id"]).read_bytes() == content


def test_judgements_are_counted(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "eval.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("corpus.jsonl", lines([{"_id": "d1", "title": "", "text": "the dog barks"}]))
        archive.writestr("queries.jsonl", lines([{"_id": "q1", "text": "who barks"}]))
        archive.writestr("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    file = gateway.upload(path.read_bytes(), purpose="eval").json()
    assert file["counts"] == {"documents": 1, "queries": 1, "judgements": 1}


def test_a_mapping_is_kept_with_the_file_and_shown(gateway: Gateway) -> None:
    mapping = {"anchor": "q", "positive": "a", "negatives": ["n1"]}
    form = {"purpose": "fine-tune", "mapping": json.dumps(mapping)}
    content = b"q\ta\tn1\twhere\nwhich pet barks\tthe dog barks\ta cat\tx\n"
    file = gateway.http.post("/v1/files", files={"file": ("faq.tsv", content)}, data=form).json()
    assert (file["mapping"], file["counts"]["negatives"], file["counts"]["ignored_fields"]) == (mapping, 1, 1)
    assert gateway.http.get(f"/v1/files/{file['id']}").json() == file
    assert problem(gateway.upload(content), 422, "dataset_invalid")["errors"][0]["code"] == "unknown_header"
    assert gateway.upload(lines([PAIR])).json()["mapping"] is None


@pytest.mark.parametrize(
    ("mapping", "status", "code"),
    [
        ("oops", 422, "invalid_value"),
        ("", 422, "invalid_value"),
        ('{"anchor": "q"}', 422, "invalid_value"),
        ('{"anchor": "q", "positive": "\\ud800"}', 422, "invalid_value"),
        ('{"anchor": "query", "positive": "a"}', 422, "dataset_invalid"),
        ("[" * 10_000, 422, "invalid_value"),
        ("x" * 20_000, 413, "too_large"),
    ],
)
def test_a_mapping_that_does_not_fit_leaves_nothing(gateway: Gateway, mapping: str, status: int, code: str) -> None:
    form = {"purpose": "fine-tune", "mapping": mapping}
    answer = gateway.http.post("/v1/files", files={"file": ("f", lines([PAIR]))}, data=form)
    assert problem(answer, status, code)["errors" if status == 422 else "detail"]
    assert gateway.artifacts() == []


def test_judgements_take_no_mapping(gateway: Gateway) -> None:
    form = {"purpose": "eval", "mapping": '{"anchor": "q", "positive": "a"}'}
    answer = gateway.http.post("/v1/files", files={"file": ("f", b"x")}, data=form)
    assert problem(answer, 422, "invalid_value")["errors"][0]["pointer"] == "/mapping"


@pytest.mark.parametrize(
    ("content", "line", "pointer", "code"),
    [
        (b"", None, None, "empty_dataset"),
        (lines([PAIR]) + b"no json\n", 2, None, "invalid_json"),
        (lines([PAIR, PAIR, {"query": "a"}]), 3, "/positive", "missing_field"),
        (lines([PAIR | {"positive": " "}]), 1, "/positive", "empty_text"),
    ],
)
def test_a_broken_file_is_refused_by_line_and_field(
    gateway: Gateway, content: bytes, line: int | None, pointer: str | None, code: str
) -> None:
    body = problem(gateway.upload(content), 422, "dataset_invalid")
    found = body["errors"][0]
    assert (found["line"], found["pointer"], found["code"]) == (line, pointer, code)
    assert gateway.artifacts() == [] and gateway.http.get("/v1/files").json()["data"] == []


def test_of_many_broken_lines_twenty_are_named_and_the_rest_is_counted(gateway: Gateway) -> None:
    body = problem(gateway.upload(b"x\n" * 50), 422, "dataset_invalid")
    assert (len(body["errors"]), body["further_errors"]) == (20, 30)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"garbage", 400, "malformed_multipart"),
        (part("purpose", "fine-tune") + part("file", "{", "x"), 400, "malformed_multipart"),
        (part("purpose", "eval") + b"--abc--\r\n", 422, "missing_field"),
        (part("file", "{}", "x") + b"--abc--\r\n", 422, "missing_field"),
        (part("expires_after[anchor]", "created_at") + b"--abc--\r\n", 422, "unknown_field"),
        (part("file", "a", "x") + part("file", "b", "y") + b"--abc--\r\n", 422, "invalid_value"),
        (part("purpose", "vision") + part("file", "a", "x") + b"--abc--\r\n", 422, "invalid_value"),
        (part("purpose", "x" * 2_000) + b"--abc--\r\n", 413, "too_large"),
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(gateway: Gateway, body: bytes, status: int, code: str) -> None:
    problem(gateway.http.post("/v1/files", content=body, headers=FORM), status, code)
    assert gateway.artifacts() == []


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/json", 415, "unsupported_media_type"),
        ("multipart/form-data", 400, "malformed_multipart"),
        (f"multipart/form-data; boundary={'x' * 300}", 400, "malformed_multipart"),
    ],
)
def test_a_body_that_is_no_form_is_refused(gateway: Gateway, content_type: str, status: int, code: str) -> None:
    problem(gateway.http.post("/v1/files", content=b"x", headers={"content-type": content_type}), status, code)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_over_the_limit_is_refused_at_the_limit(serve: Callable[..., Gateway], chunked: bool) -> None:
    gateway = serve(max_upload_bytes=1_000)
    body = part("purpose", "fine-tune") + part("file", "x" * 200_000, "x") + b"--abc--\r\n"
    sent: list[int] = []

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 500):
            sent.append(start)
            yield body[start : start + 500]

    answer = gateway.http.post("/v1/files", content=chunks() if chunked else body, headers=FORM)
    assert "1000 bytes" in problem(answer, 413, "too_large")["detail"] or not chunked
    assert gateway.artifacts() == []


def test_the_form_is_read_alike_however_it_is_cut(gateway: Gateway) -> None:
    body = part("file", json.dumps(PAIR), "x") + part("purpose", "fine-tune") + b"--abc--\r\n"
    cut = (body[place : place + 1] for place in range(len(body)))
    answer = gateway.http.post("/v1/files", content=cut, headers=FORM)
    assert answer.json()["sha256"] == hashlib.sha256(json.dumps(PAIR).encode()).hexdigest()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\faq.jsonl", "faq.jsonl"),
        ("a\0b\u202egpj.exe", "abgpj.exe"),
        ("x" * 5_000, "x" * 255),
        ("", "upload"),
        ("dir/", "upload"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_a_file_name_is_a_label(sent: str, shown: str) -> None:
    assert label(sent) == shown


def test_a_deleted_file_is_gone_and_gone_twice_is_not_found(gateway: Gateway) -> None:
    id = gateway.pairs()
    assert gateway.http.delete(f"/v1/files/{id}").json() == {"id": id, "object": "file", "deleted": True}
    assert gateway.artifacts() == []
    problem(gateway.http.delete(f"/v1/files/{id}"), 404, "not_found")


def test_a_file_that_a_waiting_job_needs_stays(gateway: Gateway) -> None:
    id = gateway.pairs()
    assert gateway.order(training_file=id).status_code == 200
    answer = gateway.http.delete(f"/v1/files/{id}")
    problem(answer, 409, "in_use")
    assert answer.headers["x-should-retry"] == "false"
    assert gateway.http.get(f"/v1/files/{id}").status_code == 200


def test_files_are_listed_newest_first_window_by_window(gateway: Gateway) -> None:
    ids = [gateway.pairs(4) for _ in range(3)]
    first = gateway.http.get("/v1/files?limit=2").json()
    assert ([file["id"] for file in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    rest = gateway.http.get(f"/v1/files?limit=2&after={first['last_id']}").json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    problem(gateway.http.get("/v1/files?after=file-nope"), 400, "bad_cursor")


@pytest.mark.parametrize("id", ["x", "file-%00", "%ff", "'%20or%201=1", "a" * 5_000, "file-" + "0" * 26])
def test_an_id_that_is_none_of_ours_is_not_found(gateway: Gateway, id: str) -> None:
    problem(gateway.http.get(f"/v1/files/{id}"), 404, "not_found")


def test_a_full_disk_keeps_nothing_of_an_upload(gateway: Gateway) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # Python ignores SIGXFSZ: writing fails with EFBIG
    try:
        answer = gateway.upload(lines([PAIR] * 60_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    problem(answer, 507, "storage_full")
    assert gateway.artifacts() == []
    assert gateway.upload(lines([PAIR])).status_code == 200


def test_a_client_that_goes_away_leaves_nothing(live: Live, until: Callable[..., None]) -> None:
    host, port = live.url.removeprefix("http://").split(":")
    tmp = live.parts.artifacts.root / "tmp"
    head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {live.key}\r\n"
    head += f"content-type: {FORM['content-type']}\r\ncontent-length: 9000000\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + part("file", "x" * 3_000_000, "x")[:-2])
        until(lambda: any(tmp.iterdir()))
    until(lambda: not any(tmp.iterdir()))
    with live.parts.database.read() as tx:
        assert files.page_files(tx, "default", page=Page()) == ([], False)


def test_the_bytes_of_a_file_are_given_back_as_they_came(gateway: Gateway) -> None:
    content = lines([PAIR] * 2)
    made = gateway.upload(content, name="räte.jsonl").json()
    answer = gateway.http.get(f"/v1/files/{made['id']}/content")
    assert (answer.content, answer.headers["content-type"]) == (content, "application/octet-stream")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''r%C3%A4te.jsonl"
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:" and answer.headers["etag"] == f'"{made["sha256"]}"'


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=2-5", 206, 2, 6),
        ("bytes=-4", 206, -4, None),
        ("bytes=7-", 206, 7, None),
        ("bytes=0-999999", 206, 0, None),
    ]
    + [(odd, 200, 0, None) for odd in ("bytes=5-2", "bytes=-0", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=-")],
)
def test_a_range_of_a_file_is_what_was_asked_for_or_all_of_it(
    gateway: Gateway, asked: str, status: int, first: int, last: int | None
) -> None:
    content = lines([PAIR] * 2)
    id = gateway.upload(content).json()["id"]
    answer = gateway.http.get(f"/v1/files/{id}/content", headers={"range": asked})
    assert (answer.status_code, answer.content) == (status, content[first:last])


def test_a_range_behind_the_end_and_damaged_bytes_are_refused(gateway: Gateway) -> None:
    id = gateway.upload(lines([PAIR] * 2)).json()["id"]
    answer = gateway.http.get(f"/v1/files/{id}/content", headers={"range": "bytes=5000-"})
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(lines([PAIR] * 2))}"
    gateway.parts.artifacts.file_path(id).write_bytes(b"short")
    problem(gateway.http.get(f"/v1/files/{id}/content"), 503, "artifact_corrupt")
    gateway.parts.artifacts.file_path(id).unlink()
    problem(gateway.http.get(f"/v1/files/{id}/content"), 503, "artifact_corrupt")
