"""What a caller has already is not sent again."""

import pytest

from tests.infonce.reported import toy_report
from tests.service.conftest import BASE, Gateway
from tests.service.test_models import published

JOBS = "/v1/fine_tuning/jobs"


def test_an_answer_that_has_not_changed_is_not_sent_again(gateway: Gateway) -> None:
    path = f"{JOBS}/{gateway.order(training_file=gateway.pairs()).json()['id']}"
    first = gateway.http.get(path)
    tag = first.headers["etag"]
    again = gateway.http.get(path, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "content-length" not in again.headers and "x-request-id" in again.headers
    gateway.http.post(f"{path}/cancel")
    changed = gateway.http.get(path, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "cancelled") and changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("known", "status"),
    [("{}", 304), ("W/{}", 304), ('"other", {}', 304), ("*", 304), ('"other"', 200), ("", 200), ("{}x", 200)],
)
def test_if_none_match_is_read_as_http_says(gateway: Gateway, known: str, status: int) -> None:
    path = f"/v1/models/{BASE}"
    tag = gateway.http.get(path).headers["etag"]
    assert gateway.http.get(path, headers={"if-none-match": known.replace("{}", tag)}).status_code == status


def test_errors_other_methods_and_pages_have_no_tag(gateway: Gateway) -> None:
    missing = gateway.http.get("/v1/models/nobody", headers={"if-none-match": "*"})
    assert missing.status_code == 404 and "etag" not in missing.headers
    assert "etag" not in gateway.http.get("/docs").headers
    body = {"model": BASE, "input": "a dog"}
    asked = gateway.http.post("/v1/embeddings", json=body, headers={"if-none-match": "*"})
    assert asked.status_code == 200 and "etag" not in asked.headers


def test_bytes_that_the_caller_has_are_not_sent_again(gateway: Gateway) -> None:
    file = gateway.pairs(3)
    path = f"/v1/files/{file}/content"
    first = gateway.http.get(path)
    tag = first.headers["etag"]
    for headers in ({}, {"range": "bytes=0-3"}, {"range": f"bytes={len(first.content)}-"}):
        again = gateway.http.get(path, headers={"if-none-match": f'"other", W/{tag}', **headers})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers and "content-type" not in again.headers
    assert gateway.http.get(path, headers={"if-none-match": '"other"'}).content == first.content
    assert gateway.http.get(path, headers={"if-none-match": '"other"', "range": "bytes=0-3"}).status_code == 206
    gateway.parts.artifacts.file_path(file).unlink()
    assert gateway.http.get(path, headers={"if-none-match": tag}).status_code == 503


def test_a_report_that_the_caller_has_is_not_sent_again(gateway: Gateway) -> None:
    path = f"{JOBS}/{published(gateway.parts, report=toy_report())}/report.html"
    first = gateway.http.get(path)
    again = gateway.http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert gateway.http.get(path, headers={"if-none-match": '"other"'}).content == first.content
