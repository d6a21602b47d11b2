"""The project's own client, over real HTTP."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from infonce.compare import Outcome
from infonce.config import Side
from infonce.qrels import EvalSet, write_beir
from service.client import Client
from service.errors import ApiError
from service.schemas.collections import CollectionCreate
from service.schemas.evaluations import EvaluationCreate
from service.schemas.jobs import JobCreate
from service.schemas.mining import MiningCreate
from service.store import jobs
from service.store.records import JobKind, JobRecord, JobStatus, Phase, new_id
from tests.service.conftest import BASE, DIMENSIONS, PAIR, Live, WordEncoder, lines


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.url, api_key=live.key) as made:
        yield made


@pytest.fixture
def pairs(client: Client, tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([PAIR | {"query": f"which pet barks {n}"} for n in range(20)]))
    return client.upload(path, "fine-tune").id


def test_a_file_is_uploaded_and_deleted(client: Client, pairs: str) -> None:
    assert client.file(pairs).counts["pairs"] == 20
    assert client.delete_file(pairs).deleted
    with pytest.raises(ApiError) as caught:
        client.file(pairs)
    assert (caught.value.status, caught.value.code) == (404, "not_found") and caught.value.request_id is not None


def test_a_job_is_followed_to_its_end(live: Live, client: Client, pairs: str) -> None:
    job = client.create_job(JobCreate(model=BASE, training_file=pairs, suffix="faq"))
    seen: list[tuple[str, int | None]] = []
    looked = threading.Event()

    def work() -> None:
        database, clock = live.parts.database, live.parts.clock
        with database.write() as tx:
            attempt = jobs.claim(tx, "train", owner="me", now=clock())
            assert attempt is not None
            update: dict[str, Any] = {"progress": {"step": 3, "total_steps": 9}}
            jobs.heartbeat(tx, job.id, attempt=attempt.attempt, now=clock(), update=update)
        looked.wait(10)
        with database.write() as tx:
            jobs.succeed(
                tx, job.id, attempt=attempt.attempt, now=clock(), result={"model": "ft:x", "trained_tokens": 5}
            )

    def look(found: Any) -> None:
        seen.append((found.status, found.progress.step))
        if found.progress.step == 3:
            looked.set()

    worker = threading.Thread(target=work)
    worker.start()
    ended = client.wait(job.id, on_progress=look, poll_seconds=0.01, timeout_seconds=20)
    worker.join()
    assert ended.status == "succeeded" and ("running", 3) in seen
    assert (client.job(job.id).fine_tuned_model, client.job(job.id).trained_tokens) == ("ft:x", 5)
    assert [event.data["type"] for event in client.events(job.id)][::2] == ["submitted", "finished"]


def test_a_wait_has_an_end(client: Client, pairs: str) -> None:
    job = client.create_job(JobCreate(model=BASE, training_file=pairs))
    with pytest.raises(TimeoutError, match="still queued"):
        client.wait(job.id, poll_seconds=0.01, timeout_seconds=0.05)
    assert (client.pause(job.id).status, client.resume(job.id).status) == ("paused", "queued")
    assert client.cancel(job.id).status == "cancelled"
    with pytest.raises(ApiError, match="it has a report once"):
        client.report(job.id)


def test_jobs_are_listed_by_their_metadata_past_the_first_window(live: Live, client: Client) -> None:
    common = {"project": "default", "kind": JobKind.INDEX, "status": JobStatus.QUEUED, "phase": Phase.WAITING}
    made = [
        JobRecord(
            id=new_id("job"), created_at=float(n), spec={}, metadata={"made_by": "me" if n > 100 else "demo"}, **common
        )
        for n in range(102)
    ]
    with live.parts.database.write() as tx:
        for job in made:
            jobs.insert(tx, job)
    newest_first = [job.id for job in reversed(made)]
    assert [job.id for job in client.jobs()] == newest_first
    assert [job.id for job in client.jobs(metadata={"made_by": "demo"})] == newest_first[1:]


class Proxy(BaseHTTPRequestHandler):
    """Answers every request with an empty list, whatever host it is for."""

    def do_GET(self) -> None:
        body = b'{"object": "list", "data": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_proxy_of_the_environment_counts_only_beyond_this_machine(
    live: Live, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with Client("http://elsewhere.invalid", api_key=live.key) as distant:
        assert distant.models() == []
    port = live.url.rsplit(":", 1)[1]
    for url in (live.url, f"http://localhost:{port}"):
        with Client(url, api_key=live.key) as near:
            assert near.model(BASE).id == BASE


def test_texts_are_embedded(client: Client) -> None:
    vectors = client.embed(["the dog", "a cat"], model=BASE, side=Side.QUERY)
    assert np.allclose(vectors, WordEncoder().encode(["the dog", "a cat"], side=Side.QUERY))
    assert client.model(BASE).dimensions == DIMENSIONS and BASE in [model.id for model in client.models()]


def test_a_collection_is_made_filled_and_asked(client: Client) -> None:
    made = client.create_collection(CollectionCreate(name="pets", model=BASE))
    accepted = client.add_documents("pets", ({"id": f"d{n}", "text": f"text {n}"} for n in range(1_200)))
    assert (accepted.accepted, accepted.pending) == (1_200, 1_200)
    assert client.any_job(accepted.job).subject == made.id
    assert client.collection("pets").count == 1_200
    assert client.query("pets", "text 7").pending == 1_200
    assert client.query_vector("pets", np.ones(DIMENSIONS, np.float32)).hits == []


def test_a_busy_server_is_asked_again_and_only_for_what_changes_nothing() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        if len(asked) % 3:
            return httpx2.Response(503, headers={"retry-after": "0"}, json={"error": {"code": "overloaded"}})
        return httpx2.Response(200, json={"object": "list", "data": []})

    with Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client:
        assert client.models() == [] and asked == ["GET"] * 3
        with pytest.raises(ApiError) as caught:
            client.cancel("job-x")
    assert caught.value.code == "overloaded" and asked == ["GET"] * 3 + ["POST"]


def test_an_answer_of_something_else_is_told_as_such() -> None:
    page = httpx2.MockTransport(lambda _: httpx2.Response(200, text="<html>"))
    with (
        Client("http://nowhere", transport=page) as client,
        pytest.raises(ApiError, match="is this an infonce gateway"),
    ):
        client.models()


def test_a_file_with_other_names_is_mined_and_judged_through_the_client(client: Client, tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_bytes(lines([{"frage": f"which {n}", "antwort": f"this {n}"} for n in range(20)]))
    (tmp_path / "corpus.jsonl").write_bytes(lines([{"text": f"text {n}"} for n in range(40)]))
    pairs = client.upload(tmp_path / "odd.jsonl", "fine-tune", mapping={"anchor": "frage", "positive": "antwort"})
    corpus = client.upload(tmp_path / "corpus.jsonl", "corpus")
    mining = client.mine(MiningCreate(training_file=pairs.id, model=BASE, corpus_file=corpus.id, per_query=3))
    assert (mining.kind, mining.status, mining.result_files) == ("mine", "queued", [])
    estimate = client.estimate(JobCreate(model=BASE, training_file=pairs.id))
    assert (estimate.kind, estimate.status) == ("estimate", "queued")
    judged = EvalSet(corpus={"d": "dog", "c": "cat"}, queries={"q": "bark"}, qrels={"q": {"d": 1}})
    write_beir(judged, tmp_path / "judged.zip")
    file = client.upload(tmp_path / "judged.zip", "eval").id
    made = client.evaluate(EvaluationCreate(file=file, models=[BASE]))
    assert client.evaluation(made.id) == made and list(client.evaluations()) == [made]
    with pytest.raises(ApiError) as caught:
        list(client.evaluated(made.id, outcome=Outcome.LOSS))
    assert caught.value.code == "not_ready"
