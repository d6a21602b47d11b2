"""What a caller has already is not sent again."""

import pytest

from tests.service.conftest import BASE, Gateway

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
