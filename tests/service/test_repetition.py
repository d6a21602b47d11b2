"""A POST that comes twice makes one object."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.service.conftest import BASE, PAIR, Gateway, lines, problem
from tests.service.test_keys import bearer, make
from tests.service.test_tenancy import judged as judgements

Send = Callable[..., httpx2.Response]
ALIKE = {
    "/v1/embeddings": "asks",
    "/v1/collections/{c}/query": "asks",
    "/v1/collections/{c}/count": "asks",
    "/v1/collections/{c}/compare": "asks",
    "/v1/collections/{c}/duplicates": "asks",
    "/v1/collections/{c}/documents/delete": "what is gone is gone",
    "/v1/fine_tuning/jobs/{id}/cancel": "a wish, which is there or not",
    "/v1/fine_tuning/jobs/{id}/pause": "a wish, which is there or not",
    "/v1/fine_tuning/jobs/{id}/resume": "takes a wish back",
    "/v1/jobs/{id}/cancel": "a wish, which is there or not",
    "/v1/jobs/{id}/pause": "a wish, which is there or not",
    "/v1/jobs/{id}/resume": "takes a wish back",
    "/v1/projects/{id}": "sets what it says",
    "/v1/uploads/{id}/cancel": "an upload is given up once",
    "/v1/uploads/{id}/complete": "an upload becomes one file",
    "/v1/webhook_endpoints/{id}": "sets what it says",
    "/v1/webhook_endpoints/{id}/test": "leaves nothing; a sample says that it is one",
}
"""Every POST that needs no key, for it leaves twice what it leaves once, and why."""


def senders(gateway: Gateway) -> dict[str, Send]:
    """What makes a file, a job and a collection, with these headers and with another body where that is asked for."""
    file = gateway.pairs()

    def upload(*, other: bool = False, **headers: str) -> httpx2.Response:
        content = lines([PAIR, PAIR | {"query": "who barks"}] + [PAIR | {"query": "who"}] * other)
        files, data = {"file": ("pairs.jsonl", content)}, {"purpose": "fine-tune"}
        return gateway.http.post("/v1/files", files=files, data=data, headers=headers)

    def post(path: str, body: dict[str, Any], change: dict[str, Any]) -> Send:
        def send(*, other: bool = False, **headers: str) -> httpx2.Response:
            return gateway.http.post(path, json=body | change if other else body, headers=headers)

        return send

    job = {"model": BASE, "training_file": file}
    judged = {"file": judgements(gateway), "models": [BASE]}
    collection = {"name": "faq", "model": BASE}
    return {
        "/v1/files": upload,
        "/v1/fine_tuning/jobs": post("/v1/fine_tuning/jobs", job, {"seed": 7}),
        "/v1/evaluations": post("/v1/evaluations", judged, {"ks": [3]}),
        "/v1/collections": post("/v1/collections", collection, {"name": "other"}),
        "/v1/projects": post("/v1/projects", {"id": "team"}, {"id": "others"}),
    }


ROOTS = ["/v1/files", "/v1/fine_tuning/jobs", "/v1/evaluations", "/v1/collections", "/v1/projects"]


@pytest.mark.parametrize("path", ROOTS)
def test_a_key_makes_one_object_and_names_it_again(gateway: Gateway, path: str) -> None:
    send, key = senders(gateway)[path], {"idempotency-key": "k-1"}
    before = len(gateway.http.get(path).json()["data"])
    first, again = send(**key), send(**key)
    assert first.is_success and again.status_code == first.status_code and again.json()["id"] == first.json()["id"]
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert len(gateway.http.get(path).json()["data"]) == before + 1
    refused = send(other=True, **key)
    problem(refused, 409, "idempotency_mismatch")
    assert refused.headers["x-should-retry"] == "false"
    assert send(other=True, **{"idempotency-key": "k-2"}).is_success


KEYS = [("/v1/api_keys", {"name": "mine"}, {"name": "other"}), ("/v1/api_keys/{id}/rotate", {}, {"grace_seconds": 5})]


@pytest.mark.parametrize(("path", "body", "other"), KEYS, ids=["made", "replaced"])
def test_a_secret_is_shown_once_and_no_second_key_made(
    gateway: Gateway, path: str, body: dict[str, Any], other: dict[str, Any]
) -> None:
    admin = make(gateway)
    headers, path = bearer(admin) | {"idempotency-key": "k"}, path.format(id=admin.split("_")[1])
    first = gateway.http.post(path, json=body, headers=headers).json()
    assert gateway.http.get("/v1/files", headers=bearer(first["secret"])).is_success
    again = gateway.http.post(path, json=body, headers=headers)
    said = problem(again, 409, "secret_shown")["detail"]
    assert first["id"] in said and "delete that key" in said and "secret" not in again.json()
    problem(gateway.http.post(path, json=other, headers=headers), 409, "idempotency_mismatch")
    assert len(gateway.http.get("/v1/api_keys", headers=headers).json()["data"]) == 2


def test_of_many_at_once_one_makes_the_key(gateway: Gateway) -> None:
    headers = bearer(make(gateway)) | {"idempotency-key": "k"}
    with ThreadPoolExecutor(8) as threads:
        send = partial(gateway.http.post, "/v1/api_keys", json={"name": "mine"}, headers=headers)
        answers = list(threads.map(lambda _: send().status_code, range(12)))
    assert sorted(answers) == [201] + [409] * 11
    assert len(gateway.http.get("/v1/api_keys", headers=headers).json()["data"]) == 2


def test_of_many_at_once_one_makes_the_job(gateway: Gateway) -> None:
    send = senders(gateway)["/v1/fine_tuning/jobs"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: send(**{"idempotency-key": "k"}), range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(gateway.http.get("/v1/fine_tuning/jobs").json()["data"]) == 1


def test_of_many_at_once_one_makes_the_collection(gateway: Gateway) -> None:
    send = senders(gateway)["/v1/collections"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: send(**{"idempotency-key": "k"}), range(12)))
    assert {answer.status_code for answer in answers} == {201} and len({a.json()["id"] for a in answers}) == 1


def test_what_was_deleted_may_come_again(gateway: Gateway) -> None:
    send, key = senders(gateway)["/v1/files"], {"idempotency-key": "k"}
    first = send(**key).json()["id"]
    assert gateway.http.delete(f"/v1/files/{first}").is_success
    assert send(**key).json()["id"] != first


def test_a_refused_request_leaves_its_key_free(gateway: Gateway) -> None:
    key = {"idempotency-key": "k"}
    body = {"model": BASE, "training_file": "file-" + "0" * 26}
    problem(gateway.http.post("/v1/fine_tuning/jobs", json=body, headers=key), 404, "not_found")
    assert senders(gateway)["/v1/fine_tuning/jobs"](**key).is_success


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "x" * 10_000, "a b"])
def test_what_is_no_key_is_refused(gateway: Gateway, key: str) -> None:
    body = problem(senders(gateway)["/v1/fine_tuning/jobs"](**{"idempotency-key": key}), 422, "invalid_value")
    assert "1 to 255 visible ASCII" in body["detail"]


def test_the_retry_of_openais_client_makes_no_second_job(gateway: Gateway) -> None:
    send = senders(gateway)["/v1/fine_tuning/jobs"]
    tries = [send(**{"x-stainless-retry-count": count}).json()["id"] for count in ("0", "1", "2", "0", "1")]
    assert tries[0] == tries[1] == tries[2] and tries[3] == tries[4] != tries[0]


def test_another_body_is_no_retry(gateway: Gateway) -> None:
    send = senders(gateway)["/v1/fine_tuning/jobs"]
    first = send(**{"x-stainless-retry-count": "0"})
    other = send(other=True, **{"x-stainless-retry-count": "1"})
    assert other.is_success and other.json()["id"] != first.json()["id"]


def posts(gateway: Gateway) -> dict[str, bool]:
    """Every POST of the API, and whether it says that it takes an Idempotency-Key."""
    paths = gateway.http.get("/openapi.json").json()["paths"]
    found = {path: methods["post"].get("parameters", []) for path, methods in paths.items() if "post" in methods}
    return {path: any(one["name"] == "Idempotency-Key" for one in taken) for path, taken in found.items()}


def test_every_post_makes_its_object_once_or_leaves_twice_what_it_leaves_once(gateway: Gateway) -> None:
    assert {path for path, is_once in posts(gateway).items() if not is_once} == set(ALIKE)


def test_what_is_no_key_is_refused_by_every_post(gateway: Gateway) -> None:
    paths = [re.sub(r"\{(\w+)\}", r"\1", path) for path in posts(gateway)]
    answers = [gateway.http.post(path, headers={"idempotency-key": "x" * 10_000}) for path in paths]
    assert len(answers) > 40
    for answer in answers:
        assert "10000 characters" in problem(answer, 422, "invalid_value")["detail"]


NDJSON = {"content-type": "application/x-ndjson"}


def documents(gateway: Gateway, *ids: str, name: str = "faq", lined: bool = False, **headers: str) -> httpx2.Response:
    """Documents of these ids are sent, as an array or a line each."""
    rows, path = [{"id": id, "vector": [1.0, 0.0]} for id in ids], f"/v1/collections/{name}/documents"
    if lined:
        return gateway.http.post(path, content=lines(rows), headers=NDJSON | headers)
    return gateway.http.post(path, json={"documents": rows}, headers=headers)


@pytest.mark.parametrize("lined", [False, True], ids=["array", "lines"])
def test_documents_that_come_twice_are_stored_once(gateway: Gateway, lined: bool) -> None:
    for name in ("faq", "other"):
        gateway.http.post("/v1/collections", json={"name": name, "dimension": 2})
    send, key = partial(documents, gateway, lined=lined), {"idempotency-key": "k"}
    first = send("a", "b", **key)
    assert gateway.http.delete("/v1/collections/faq/documents", params={"id": "a"}).json()["deleted"] == 1
    again = send("a", "b", **key)
    assert (again.status_code, again.json()) == (200, first.json() | {"accepted": 2})
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert gateway.http.post("/v1/collections/faq/count", json={}).json()["count"] == 1  # it is still deleted
    problem(send("c", **key), 409, "idempotency_mismatch")
    problem(send("a", "b", name="other", **key), 409, "idempotency_mismatch")
    assert send("a", "b", **{"x-stainless-retry-count": "0"}).is_success
    assert send("a", "b", **{"x-stainless-retry-count": "1"}).headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in send("a", "b").headers


def test_many_documents_name_the_same_job_again(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "faq", "model": BASE})
    rows, path = [{"id": f"t{n}", "text": f"text {n}"} for n in range(300)], "/v1/collections/faq/documents"
    headers = NDJSON | {"idempotency-key": "k"}
    first, again = (gateway.http.post(path, content=lines(rows), headers=headers) for _ in range(2))
    assert first.status_code == again.status_code == 202 and first.json()["job"] == again.json()["job"] is not None
    assert again.headers["idempotency-replayed"] == "true"


def test_documents_that_were_refused_leave_their_key_free(gateway: Gateway) -> None:
    key = {"idempotency-key": "k"}
    assert documents(gateway, "a", **key).status_code == 404
    gateway.http.post("/v1/collections", json={"name": "faq", "dimension": 2})
    body = {"documents": [{"id": "a", "vector": [1.0]}]}
    problem(gateway.http.post("/v1/collections/faq/documents", json=body, headers=key), 422, "index_mismatch")
    assert documents(gateway, "a", **key).json()["accepted"] == 1
