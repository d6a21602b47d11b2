"""Events are told as they happen, to any number of readers, each from where it was."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import httpx2
import pytest

from service.settings import EdgeLimits, GatewaySettings
from service.store import jobs, wishes
from service.store.records import JobError, JobRecord
from tests.service.conftest import BASE, PAIR, Live, lines, problem
from worker.progress import MessageType
from worker.pulse import Pulse

MAX_READERS = 12
"""More than requests that read at once."""


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """Few readers are as many as may be, and a key is looked at again soon."""
    return replace(settings, edge=EdgeLimits(num_streams=MAX_READERS, key_seconds=0.2))


@pytest.fixture
def http(live: Live) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {live.key}"}
    with httpx2.Client(base_url=live.url, headers=headers, timeout=10, trust_env=False) as made:
        yield made


@pytest.fixture
def job(http: httpx2.Client) -> str:
    """The id of a training that waits."""
    content = lines([{**PAIR, "query": f"which pet barks {n}"} for n in range(40)])
    file = http.post("/v1/files", files={"file": ("p.jsonl", content)}, data={"purpose": "fine-tune"}).json()["id"]
    return str(http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": file}).json()["id"])


@contextmanager
def stream(http: httpx2.Client, path: str, **headers: str) -> Iterator[Iterator[Mapping[str, Any]]]:
    """The messages of a stream, each with its name, its id and what it says; comments are left out."""
    with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        yield messages(answer.iter_lines())


def messages(said: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    fields: dict[str, str] = {}
    for line in said:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            done = fields["data"] == "[DONE]"
            body = None if done else json.loads(fields["data"])
            yield {"name": fields.get("event"), "id": fields.get("id"), "body": body}
            if done:
                return
            fields = {}


def of(id: str, root: str = "/v1/fine_tuning/jobs") -> str:
    return f"{root}/{id}/events/stream"


def claim(live: Live) -> JobRecord:
    with live.parts.database.write() as tx:
        claimed = jobs.claim(tx, "train", owner="test", now=live.parts.clock())
    assert claimed is not None
    return claimed


def beat(live: Live, job: str, **update: Any) -> None:
    with live.parts.database.write() as tx:
        assert jobs.heartbeat(tx, job, attempt=1, now=live.parts.clock(), update=update)


def fail(live: Live, job: str) -> None:
    with live.parts.database.write() as tx:
        assert jobs.fail(tx, job, attempt=1, now=live.parts.clock(), error=JobError(code="c", message="m"))


@pytest.mark.parametrize("root", ["/v1/fine_tuning/jobs", "/v1/jobs"])
def test_what_has_happened_is_told_then_what_happens_and_in_the_end_that_it_is_the_end(
    live: Live, http: httpx2.Client, job: str, root: str
) -> None:
    with stream(http, of(job, root)) as told:
        assert next(told)["body"]["data"]["type"] == "submitted"
        waiting = next(told)
        assert (waiting["name"], waiting["body"]["status"], waiting["id"]) == ("progress", "queued", None)
        assert waiting["body"]["progress"]["queue_position"] == 1
        claim(live)
        assert next(told)["body"]["data"]["type"] == "claimed"
        assert next(told)["body"]["phase"] == "loading"
        beat(live, job, progress={"step": 3, "total_steps": 9, "grad_norm": 1.0})
        assert next(told)["body"]["progress"]["step"] == 3
        fail(live, job)
        rest = list(told)
    assert [message["name"] for message in rest] == [None, "progress", None]
    assert (rest[0]["body"]["data"]["type"], rest[1]["body"]["status"], rest[2]["body"]) == ("failed", "failed", None)


def test_what_a_child_says_is_told_within_a_second(live: Live, http: httpx2.Client, job: str) -> None:
    late = []
    with stream(http, of(job)) as told, Pulse(live.parts.database, claim(live)) as pulse:
        for step in (1, 2, 3):
            began = time.monotonic()
            pulse.tell(MessageType.PROGRESS, {"step": step, "total_steps": 9})
            while next(told)["body"].get("progress", {}).get("step") != step:
                pass
            late.append(time.monotonic() - began)
    assert median(late) <= 1.0, late  # each would be, on a machine that does nothing else


def test_who_comes_again_goes_on_behind_the_event_that_it_saw_last(live: Live, http: httpx2.Client, job: str) -> None:
    claim(live)
    fail(live, job)
    with stream(http, of(job)) as told:
        ids = [message["id"] for message in told if message["id"]]
    listed = http.get(f"/v1/fine_tuning/jobs/{job}/events", params={"order": "asc"}).json()["data"]
    assert ids == [event["id"] for event in listed] == sorted(ids, key=lambda id: int(id.split("-")[1])) != []
    for seen in (1, len(ids)):
        with stream(http, of(job), **{"last-event-id": ids[seen - 1]}) as told:
            assert [message["id"] for message in told if message["id"]] == ids[seen:]


def test_more_events_than_are_shared_all_come_in_order(live: Live, http: httpx2.Client, job: str) -> None:
    with stream(http, of(job)) as told:
        first = next(told)
        for wish in (wishes.request_pause, wishes.request_resume) * 60:
            with live.parts.database.write() as tx:
                wish(tx, "default", id=job, now=1.0)
        claim(live)
        fail(live, job)
        types = [message["body"]["data"]["type"] for message in told if message["id"]]
    assert first["body"]["data"]["type"] == "submitted"
    assert types == ["paused", "unpaused"] * 60 + ["claimed", "failed"]


def test_a_key_that_is_revoked_is_told_nothing_more(live: Live, http: httpx2.Client, job: str) -> None:
    made = http.post("/v1/api_keys", json={"name": "reader", "scopes": ["read"]}).json()
    theirs = {"authorization": f"Bearer {made['secret']}"}
    with (
        http.stream("GET", of(job), headers=theirs) as answer,
        stream(http, of(job)) as ours,
    ):
        said = answer.iter_lines()
        assert next(said).startswith("data: ") and next(ours)["body"]["data"]["type"] == "submitted"
        assert http.delete(f"/v1/api_keys/{made['id']}").status_code == 200
        assert "data: [DONE]" not in list(said)
        claim(live)
        fail(live, job)
        assert [message["body"] for message in ours][-1] is None  # the other key's goes on to the end
    problem(http.get(of(job), headers=theirs), 401, "invalid_api_key")


def test_a_key_that_expires_is_told_nothing_more_even_while_there_is_news(
    live: Live, http: httpx2.Client, job: str
) -> None:
    claim(live)
    deadline = time.monotonic() + 10
    made = http.post("/v1/api_keys", json={"name": "reader", "scopes": ["read"], "expires_in_seconds": 1}).json()
    with http.stream("GET", of(job), headers={"authorization": f"Bearer {made['secret']}"}) as answer:
        for step, line in enumerate(line for line in answer.iter_lines() if line.startswith("data: ")):
            assert line != "data: [DONE]" and time.monotonic() < deadline
            beat(live, job, progress={"step": step, "total_steps": 9_999})


@pytest.mark.parametrize("id", ["x", "7", "ftevent-", "ftevent-x", "ftevent-" + "9" * 16])
def test_what_is_no_events_id_is_refused(http: httpx2.Client, job: str, id: str) -> None:
    problem(http.get(of(job), headers={"last-event-id": id}), 400, "bad_cursor")


def test_a_job_that_is_not_there_has_no_stream(http: httpx2.Client) -> None:
    for root in ("/v1/fine_tuning/jobs", "/v1/jobs"):
        problem(http.get(of("ftjob-" + "0" * 26, root)), 404, "not_found")


def test_readers_take_no_place_from_requests_and_are_as_many_as_may_be(
    live: Live, http: httpx2.Client, job: str, until: Callable[..., None]
) -> None:
    opened = [http.stream("GET", of(job)) for _ in range(MAX_READERS)]
    answers = [one.__enter__() for one in opened]
    assert [answer.status_code for answer in answers] == [200] * MAX_READERS
    assert http.get("/v1/jobs").status_code == 200
    problem(http.get(of(job)), 503, "overloaded")
    for one in opened:
        one.__exit__(None, None, None)

    def has_room() -> bool:
        with http.stream("GET", of(job)) as answer:
            return answer.status_code == 200

    until(has_room)
