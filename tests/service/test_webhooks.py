"""Webhooks over HTTP: OpenAI's client makes the endpoints and verifies what they are told."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from service.settings import GatewaySettings
from service.store import deliveries, jobs, webhooks, workers
from service.store.database import now_of
from service.store.records import Page
from service.store.signals import EventType, WorkerRecord
from service.webhook_sender import MAX_ATTEMPTS, pause_seconds
from tests.service.conftest import Gateway, Live, problem
from tests.service.receiver import Receiver, receiving
from tests.service.test_keys import bearer, make
from tests.service.test_tenancy import judged

Until = Callable[[Callable[[], bool]], None]
ENDPOINTS = "/v1/webhook_endpoints"
BODY = {"name": "ci", "url": "https://93.184.216.34/hook", "event_types": ["fine_tuning.job.cancelled"]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """Of a gateway that may tell this machine."""
    return replace(settings, webhook_allow_private=True)


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.key, max_retries=0) as made:
        yield made


def cancelled(gateway: Gateway) -> str:
    """The id of a job that was ordered and cancelled."""
    job = str(gateway.order(training_file=gateway.pairs()).json()["id"])
    assert gateway.http.post(f"/v1/fine_tuning/jobs/{job}/cancel").is_success
    return job


def hooked(gateway: Gateway, receiver: Receiver) -> dict[str, Any]:
    answer = gateway.http.post(ENDPOINTS, json=BODY | {"url": receiver.url})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def log_of(gateway: Gateway, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.http.get(f"{ENDPOINTS}/{id}/deliveries").json()["data"]
    return found


def test_openais_client_makes_lists_changes_and_deletes_endpoints(client: openai.OpenAI, receiver: Receiver) -> None:
    made = client.webhooks.create(name="ci", url=receiver.url, event_types=["fine_tuning.job.succeeded"])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_...{made.signing_secret[-4:]}"
    assert [found.id for found in client.webhooks.list()] == [made.id]
    shown = client.webhooks.retrieve(made.id)
    assert (shown.object, shown.name, shown.url) == ("webhook_endpoint", "ci", receiver.url)
    assert shown.to_dict()["signing_secret"] is None
    changed = client.webhooks.update(made.id, name="other", event_types=["fine_tuning.job.failed"])
    assert (changed.name, changed.url, changed.event_types) == ("other", receiver.url, ["fine_tuning.job.failed"])
    said = client.webhooks.update(made.id, extra_body={"metadata": {"team": "search"}})
    assert (said.name, said.to_dict()["metadata"]) == ("other", {"team": "search"})
    assert [found.id for found in client.webhooks.list(extra_query={"metadata": {"team": "search"}})] == [made.id]
    assert client.webhooks.rotate_secret(made.id).signing_secret != made.signing_secret
    assert client.webhooks.event_types.list().data == [*EventType]
    assert client.webhooks.delete(made.id).deleted and list(client.webhooks.list()) == []


def test_openais_client_verifies_what_it_is_told(client: openai.OpenAI, receiver: Receiver, until: Until) -> None:
    types: list[Any] = ["fine_tuning.job.cancelled"]
    made = client.webhooks.create(name="ci", url=receiver.url, event_types=types)
    pairs = b"".join(b'{"query": "a %d", "positive": "b %d"}\n' % (n, n) for n in range(20))
    file = client.files.create(file=pairs, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="tiny/base", training_file=file.id)
    client.fine_tuning.jobs.cancel(job.id)
    until(lambda: bool(receiver.received))
    came = receiver.received[0]
    event = client.webhooks.unwrap(came.body, came.headers, secret=made.signing_secret)
    assert event.type == "fine_tuning.job.cancelled" and event.data.id == job.id
    assert event.id == came.headers["webhook-id"] and event.object == "event"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(came.body + b" ", came.headers, secret=made.signing_secret)


def test_a_sample_is_signed_and_its_answer_told(client: openai.OpenAI, receiver: Receiver) -> None:
    made = client.webhooks.create(name="ci", url=receiver.url, event_types=["fine_tuning.job.failed"])
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    receiver.status = 500
    result = client.webhooks.test(made.id, event_type="fine_tuning.job.failed")
    assert (result.success, result.status_code, result.webhook_endpoint_id) == (True, 500, made.id)
    for secret in (made.signing_secret, rotated.signing_secret):
        came = receiver.received[0]
        assert client.webhooks.unwrap(came.body, came.headers, secret=secret).type == "fine_tuning.job.failed"
    native = client.post(f"/webhook_endpoints/{made.id}/test", body={"event_type": "job.failed"}, cast_to=object)
    assert isinstance(native, dict) and json.loads(receiver.received[1].body)["type"] == "job.failed"


def test_a_receiver_that_is_away_is_told_later_under_the_same_id(
    gateway: Gateway, receiver: Receiver, until: Until
) -> None:
    made = hooked(gateway, receiver)
    receiver.status, receiver.answer = 503, b"closed"
    job = cancelled(gateway)
    until(lambda: bool(receiver.received) and log_of(gateway, made["id"])[0]["status_code"] == 503)
    (logged,) = log_of(gateway, made["id"])
    assert (logged["status"], logged["attempts"], logged["detail"]) == ("pending", 1, "closed")
    assert logged["data"] == {"id": job} and 3 <= logged["next_attempt_at"] - logged["last_attempt_at"] <= 8
    receiver.status = 200
    with gateway.parts.database.write() as tx:  # time passes
        deliveries.replay(tx, made["id"], id=logged["id"], now=now_of(tx) - 3_600)
    until(lambda: log_of(gateway, made["id"])[0]["status"] == "delivered")
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body


def test_a_delivery_is_replayed(gateway: Gateway, receiver: Receiver, until: Until) -> None:
    made = hooked(gateway, receiver)
    cancelled(gateway)
    until(lambda: [one["status"] for one in log_of(gateway, made["id"])] == ["delivered"])
    (logged,) = log_of(gateway, made["id"])
    again = gateway.http.post(f"{ENDPOINTS}/{made['id']}/deliveries/{logged['id']}/replay").json()
    assert again["event_id"] == logged["event_id"] and again["id"] != logged["id"]
    until(lambda: [one["status"] for one in log_of(gateway, made["id"])] == ["delivered"] * 2)
    assert receiver.received[0].body == receiver.received[1].body
    gone = gateway.http.post(f"{ENDPOINTS}/{made['id']}/deliveries/whd-{'0' * 26}/replay")
    problem(gone, 404, "not_found")
    problem(gateway.http.post(f"{ENDPOINTS}/{made['id']}/deliveries/..%2f/replay"), 404, "not_found")


def test_a_replay_that_is_asked_for_twice_tells_once(gateway: Gateway, receiver: Receiver, until: Until) -> None:
    made = hooked(gateway, receiver)
    cancelled(gateway)
    until(lambda: [one["status"] for one in log_of(gateway, made["id"])] == ["delivered"])
    path = f"{ENDPOINTS}/{made['id']}/deliveries/{log_of(gateway, made['id'])[0]['id']}/replay"
    first = gateway.http.post(path, headers={"x-stainless-retry-count": "0"})
    until(lambda: [one["status"] for one in log_of(gateway, made["id"])] == ["delivered"] * 2)
    again = gateway.http.post(path, headers={"x-stainless-retry-count": "1"})
    assert again.json()["id"] == first.json()["id"] and again.headers["idempotency-replayed"] == "true"
    assert len(log_of(gateway, made["id"])) == 2


def test_jobs_of_other_kinds_are_told_under_our_names(gateway: Gateway, receiver: Receiver, until: Until) -> None:
    types = {"event_types": ["job.cancelled", "job.failed"], "url": receiver.url}
    assert gateway.http.post(ENDPOINTS, json=BODY | types).is_success
    job = gateway.http.post("/v1/evaluations", json={"file": judged(gateway), "models": ["tiny/base"]}).json()["job"]
    gateway.http.post(f"/v1/jobs/{job}/cancel")
    until(lambda: bool(receiver.received))
    told = json.loads(receiver.received[0].body)
    assert (told["type"], told["data"]) == ("job.cancelled", {"id": job, "kind": "evaluate"})


def test_tries_become_rarer_and_end_after_about_a_day() -> None:
    pauses = [pause_seconds(attempts, lambda: 0.5) for attempts in range(1, MAX_ATTEMPTS + 1)]
    assert pauses[:3] == [5.0, 15.0, 45.0] and pauses[-1] is None
    assert 20 * 3_600 < sum(pause for pause in pauses if pause) < 26 * 3_600
    assert (pause_seconds(1, lambda: 0.0), pause_seconds(1, lambda: 0.999)) == (4.0, pytest.approx(6.0, abs=0.01))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "http://93.184.216.34/"}, "url"),
        ({"url": "https://" + "a" * 3_000}, "url"),
        ({"url": 5}, "url"),
        ({"name": ""}, "name"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.completed"]}, "event_types"),
        ({"event_types": "job.failed"}, "event_types"),
        ({"secret": "mine"}, "secret"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(
    serve: Callable[..., Gateway], change: dict[str, Any], param: str
) -> None:
    gateway = serve(webhook_allow_private=False)
    made = gateway.http.post(ENDPOINTS, json=BODY).json()
    for path in (ENDPOINTS, f"{ENDPOINTS}/{made['id']}"):
        answer = gateway.http.post(path, json=BODY | change)
        assert answer.status_code == 422 and answer.json()["error"]["param"].startswith(param), answer.text
    assert [found["url"] for found in gateway.http.get(ENDPOINTS).json()["data"]] == [BODY["url"]]


def test_an_endpoint_of_before_the_rule_is_not_told_either(serve: Callable[..., Gateway], receiver: Receiver) -> None:
    gateway = serve(webhook_allow_private=False)
    url, types = receiver.url.replace("http:", "https:"), [EventType.JOB_FAILED]
    with gateway.parts.database.write() as tx:
        made = webhooks.create_endpoint(tx, "default", name="n", url=url, event_types=types, now=1.0)
    answer = gateway.http.post(f"{ENDPOINTS}/{made.id}/test", json={"event_type": "job.failed"})
    assert "loopback" in problem(answer, 409, "endpoint_unreachable")["detail"] and receiver.received == []
    assert answer.headers["x-should-retry"] == "false"


def test_a_secret_of_an_endpoint_is_shown_once(gateway: Gateway) -> None:
    key = {"idempotency-key": "k"}
    made = gateway.http.post(ENDPOINTS, json=BODY, headers=key).json()
    again = gateway.http.post(ENDPOINTS, json=BODY, headers=key)
    assert "rotate the endpoint's secret" in problem(again, 409, "secret_shown")["detail"]
    problem(gateway.http.post(ENDPOINTS, json=BODY | {"name": "x"}, headers=key), 409, "idempotency_mismatch")
    problem(gateway.http.post(ENDPOINTS, json=BODY, headers={"idempotency-key": "x" * 10_000}), 422, "invalid_value")
    path = f"{ENDPOINTS}/{made['id']}/rotate_secret"
    rotated = gateway.http.post(path, json={}, headers=key).json()["signing_secret"]
    problem(gateway.http.post(path, json={}, headers=key), 409, "secret_shown")
    listed = gateway.http.get(ENDPOINTS).text
    assert made["signing_secret"] not in listed and rotated not in listed


def test_a_client_that_lost_the_answer_gets_the_secret_by_its_own_retry(gateway: Gateway) -> None:
    def tried(count: int, path: str = ENDPOINTS, body: dict[str, Any] = BODY) -> dict[str, Any]:
        answer = gateway.http.post(path, json=body, headers={"x-stainless-retry-count": str(count)})
        assert answer.status_code == 200 and ("idempotency-replayed" in answer.headers) is (count > 0)
        made: dict[str, Any] = answer.json()
        return made

    made = tried(0)
    assert tried(1) == tried(2) == made and made["signing_secret"].startswith("whsec_")
    assert len(gateway.http.get(ENDPOINTS).json()["data"]) == 1
    path = f"{ENDPOINTS}/{made['id']}/rotate_secret"
    rotated = tried(0, path, {})
    assert tried(1, path, {}) == rotated and rotated["signing_secret"] != made["signing_secret"]
    assert tried(0)["id"] != made["id"]  # another one, not a retry


def test_only_administrators_see_endpoints_and_only_their_projects(gateway: Gateway) -> None:
    made = gateway.http.post(ENDPOINTS, json=BODY).json()
    with gateway.parts.database.read() as tx:
        assert webhooks.page_endpoints(tx, "other", page=Page())[0] == []
    own, other = bearer(make(gateway)), bearer(make(gateway, "other"))
    assert [found["id"] for found in gateway.http.get(ENDPOINTS, headers=own).json()["data"]] == [made["id"]]
    assert gateway.http.get(ENDPOINTS, headers=other).json()["data"] == []


def test_workers_are_listed_and_a_foreign_job_is_only_work(gateway: Gateway) -> None:
    job = gateway.order(training_file=gateway.pairs()).json()["id"]
    with gateway.parts.database.write() as tx:
        now = now_of(tx)
        for id in ("a:1", "b:2"):
            seen = WorkerRecord(id=id, queues=("train",), version="0.1.0", created_at=now, seen_at=now)
            workers.see(tx, seen)
        jobs.claim(tx, "train", owner="a:1", now=now)
    busy, idle = gateway.http.get("/v1/workers").json()["data"]
    assert (busy["id"], busy["status"], busy["job"], busy["phase"]) == ("a:1", "busy", job, "loading")
    assert (idle["status"], idle["job"], idle["queues"], idle["version"]) == ("idle", None, ["train"], "0.1.0")
    own = gateway.http.get("/v1/workers", headers=bearer(make(gateway, "other"))).json()["data"]
    assert [(one["status"], one["job"], one["kind"]) for one in own] == [("busy", None, None), ("idle", None, None)]
