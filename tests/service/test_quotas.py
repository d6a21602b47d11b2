"""What a project may use: how many jobs wait, how much is stored, how often it asks."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from service.rates import Rates
from service.settings import Quotas
from tests.service.conftest import Gateway, lines, problem
from tests.service.test_keys import bearer, make

Serve = Callable[..., Gateway]


def limits(gateway: Gateway, project: str = "default", **changes: Any) -> None:
    known = {found["id"] for found in gateway.http.get("/v1/projects").json()["data"]}
    path = f"/v1/projects/{project}" if project in known else "/v1/projects"
    body = changes if project in known else {"id": project, **changes}
    answer = gateway.http.post(path, json=body)
    assert answer.is_success, answer.text


def test_so_many_jobs_wait_and_no_more_however_many_come_at_once(serve: Serve) -> None:
    gateway = serve(quotas=Quotas(max_queued_jobs=3))
    file = gateway.pairs()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: gateway.order(training_file=file), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 13
    refused = next(answer for answer in answers if answer.status_code == 429)
    body = problem(refused, 429, "queue_limit")
    assert "3 jobs of the project wait and 3 may" in body["detail"] and refused.headers["retry-after"] == "30"
    one = gateway.http.get("/v1/fine_tuning/jobs").json()["data"][0]["id"]
    gateway.http.post(f"/v1/fine_tuning/jobs/{one}/cancel")
    assert gateway.order(training_file=file).status_code == 200


def test_a_project_has_limits_of_its_own(gateway: Gateway) -> None:
    limits(gateway, max_queued_jobs=0)
    file = gateway.pairs()
    problem(gateway.order(training_file=file), 429, "queue_limit")
    limits(gateway, max_queued_jobs=None)
    assert gateway.order(training_file=file).status_code == 200


def test_what_would_be_too_much_to_store_is_refused_and_nothing_is_kept(gateway: Gateway) -> None:
    file = gateway.pairs()
    stored = gateway.http.get("/v1/projects/default").json()["stored_bytes"]
    limits(gateway, max_stored_bytes=stored + 10)
    before = gateway.artifacts()
    body = problem(gateway.upload(b'{"query": "a", "positive": "b"}\n'), 403, "storage_quota")
    assert f"stored {stored} of {stored + 10} bytes" in body["detail"] and gateway.artifacts() == before
    assert gateway.order(training_file=file).status_code == 200
    limits(gateway, max_stored_bytes=stored)
    problem(gateway.order(training_file=file), 403, "storage_quota")


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_documents_count_as_they_are_stored_and_what_would_be_too_many_is_not(gateway: Gateway, kind: str) -> None:
    assert gateway.http.post("/v1/collections", json={"name": "faq", "dimension": 2}).is_success

    def send(*texts: str) -> httpx2.Response:
        rows = [{"id": str(place), "text": text, "vector": [1, 0]} for place, text in enumerate(texts)]
        content = lines(rows) if kind.endswith("ndjson") else json.dumps({"documents": rows}).encode()
        chunks = iter([content])  # no length is stated, so that nothing is known before it has come
        return gateway.http.post("/v1/collections/faq/documents", content=chunks, headers={"content-type": kind})

    assert send("a" * 1_000).status_code == 200
    stored = gateway.http.get("/v1/projects/default").json()["stored_bytes"]
    assert stored == 1_000 + len("{}") + 8
    limits(gateway, max_stored_bytes=stored + 1)
    assert "may be" in problem(send("a" * 1_002), 403, "storage_quota")["detail"]
    assert gateway.http.get("/v1/projects/default").json()["stored_bytes"] == stored
    assert send("b" * 900, "c" * 91).status_code == 200


def test_a_project_that_asks_too_often_is_told_when_to_come_again(gateway: Gateway) -> None:
    limits(gateway, max_requests_per_minute=2)
    answers = [gateway.http.get("/v1/models") for _ in range(3)]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    problem(answers[2], 429, "rate_limited")
    assert answers[2].headers["x-ratelimit-limit-requests"] == "2"
    assert 59 <= int(answers[2].headers["retry-after"]) <= 61  # when the first of the two is a minute ago
    assert gateway.http.get("/healthz").status_code == 200


def test_a_flood_of_one_project_is_not_another_ones(serve: Serve) -> None:
    gateway = serve(quotas=Quotas(max_requests_per_minute=3))
    noisy, quiet = bearer(make(gateway, "noisy")), bearer(make(gateway, "quiet"))
    assert [gateway.http.get("/v1/models", headers=noisy).status_code for _ in range(5)] == [200] * 3 + [429] * 2
    assert gateway.http.get("/v1/models", headers=quiet).status_code == 200


def test_no_minute_has_more_requests_than_the_limit_wherever_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    monkeypatch.setattr("time.time", lambda: now)
    rates, granted = Rates(), []
    generator = random.Random(1)
    for _ in range(2_000):
        now += generator.expovariate(2.0)  # twice as often as is allowed
        answer = rates.ask("p", 60)
        inside = sum(at > now - 60 for at in granted)
        assert answer.granted == (inside < 60) and answer.remaining == 60 - inside - answer.granted
        if answer.granted:
            granted.append(now)
        else:
            assert now + answer.reset_seconds == pytest.approx(granted[-60] + 60)
    assert rates.ask("another", 60).remaining == 59


def test_a_clock_that_is_set_back_shuts_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    monkeypatch.setattr("time.time", lambda: now)
    rates = Rates()
    assert [rates.ask("p", 2).granted for _ in range(3)] == [True, True, False]
    now -= 3_600
    assert [rates.ask("p", 2).granted for _ in range(3)] == [True, True, False]


def test_requests_at_once_are_each_counted_once() -> None:
    rates = Rates()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: rates.ask("p", 500), range(2_000)))
    assert sum(answer.granted for answer in answers) == 500


def test_only_the_default_projects_administrator_sets_limits(gateway: Gateway) -> None:
    all_of_it, own = bearer(make(gateway)), bearer(make(gateway, "team"))
    for path, body in (("/v1/projects", {"id": "new"}), ("/v1/projects/team", {"max_queued_jobs": 5})):
        problem(gateway.http.post(path, json=body, headers=own), 403, "insufficient_scope")
    for method, body in (("GET", None), ("POST", {})):
        problem(gateway.http.request(method, "/v1/projects/default", json=body, headers=own), 404, "not_found")
    assert [found["id"] for found in gateway.http.get("/v1/projects", headers=own).json()["data"]] == ["team"]
    assert gateway.http.post("/v1/projects/team", json={"max_queued_jobs": 5}, headers=all_of_it).is_success
    assert gateway.http.get("/v1/projects/team", headers=own).json()["max_queued_jobs"] == 5
    problem(gateway.http.post("/v1/projects", json={"id": "team"}, headers=all_of_it), 409, "name_taken")
