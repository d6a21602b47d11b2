"""What Prometheus scrapes: requests by route, batches, searches and jobs; and one line of the log for a request."""

import asyncio
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from service.metrics import FigureReader, Metrics
from service.store import jobs
from service.store.database import Database
from tests.service.conftest import BASE, Gateway

PAGE = Path(__file__).parents[2] / "docs/deployment.md"


def scraped(gateway: Gateway) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    answer = gateway.http.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_requests_are_counted_by_template_and_status(gateway: Gateway) -> None:
    for path in ("/v1/files/file-1", "/v1/files/file-2", "/v1/files", "/nowhere", "/else"):
        gateway.http.get(path)
    found = scraped(gateway)
    assert found["infonce_http_requests_total", "GET", "/v1/files/{id}", "404"] == 2
    assert found["infonce_http_requests_total", "GET", "/v1/files", "200"] == 1
    assert found["infonce_http_requests_total", "GET", "none", "404"] == 2
    assert found["infonce_http_request_seconds_count", "GET", "/v1/files"] == 1


def test_a_method_that_nobody_knows_makes_no_series_of_its_own(gateway: Gateway) -> None:
    gateway.http.request("BREW", "/healthz")
    assert ("infonce_http_requests_total", "other", "/healthz", "405") in scraped(gateway)


def test_batches_and_jobs_that_wait_are_told(gateway: Gateway) -> None:
    gateway.http.post("/v1/embeddings", json={"model": BASE, "input": ["the dog", "a cat sleeps"]})
    gateway.order(training_file=gateway.pairs())
    found = scraped(gateway)
    assert (found["infonce_embedding_batch_texts_sum",], found["infonce_embedding_batch_tokens_sum",]) == (2, 5)
    assert (found["infonce_jobs_waiting", "train"], found["infonce_jobs_waiting", "light"]) == (1, 0)
    assert found["infonce_database_up",] == 1


def test_searches_and_jobs_that_run_or_have_ended_are_told(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    assert gateway.http.post("/v1/collections/pets/query", json={"query": "a dog"}).is_success
    for _ in range(2):
        gateway.order(training_file=gateway.pairs())
    with gateway.parts.database.write() as tx:
        ended, running = (jobs.claim(tx, "train", owner="w", now=10.0) for _ in range(2))
        assert ended is not None and running is not None
        jobs.heartbeat(tx, running.id, attempt=1, now=12.0, update={"progress": {"pairs_per_second": 12.5}})
        jobs.succeed(tx, ended.id, attempt=1, now=17.0, result={})
    found = scraped(gateway)
    assert found["infonce_search_seconds_count",] == 1 and found["infonce_training_pairs_per_second",] == 12.5
    assert found["infonce_jobs_running", "train"] == found["infonce_jobs_ended_total", "train", "succeeded"] == 1
    assert found["infonce_jobs_ended_seconds_total", "train", "succeeded"] == 7


def test_a_query_says_itself_where_its_time_went(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    gateway.http.post("/v1/collections/pets/documents", json={"documents": [{"id": "a", "text": "the dog barks"}]})
    told = gateway.http.post("/v1/collections/pets/query", json={"query": "a dog"}).headers["server-timing"]
    assert re.findall(r"(\w+);dur=[0-9.]+", told) == ["tokenize", "queue", "infer", "search"]


def test_every_metric_stands_on_the_page_and_no_other(gateway: Gateway) -> None:
    gateway.http.get("/v1/files")
    families = {one.name for one in text_string_to_metric_families(gateway.http.get("/metrics").text)}
    ours = {name for name in families if not name.endswith("_created")}
    named = re.findall(r"`(infonce_\w+)`", PAGE.read_text("utf-8"))
    assert sorted(name.removesuffix("_total") for name in named) == sorted(ours)


def test_two_gateways_of_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.searched(0.1)
    assert b"infonce_search_seconds_count 1.0" in one.text(None)
    assert b"infonce_search_seconds_count 0.0" in other.text(None)


class Stuck(Database):
    """Answers when it is let."""

    def __init__(self) -> None:
        self.go, self.num_asked = threading.Event(), 0

    @contextmanager
    def read(self) -> Iterator[None]:  # type: ignore[override]
        self.num_asked += 1
        self.go.wait(10)
        raise ZeroDivisionError
        yield


def test_a_database_that_hangs_holds_up_no_scrape_and_is_asked_once() -> None:
    stuck = Stuck()
    reader = FigureReader(stuck, seconds=0.05)
    assert [asyncio.run(reader.now()) for _ in range(2)] == [None, None]
    assert stuck.num_asked == 1 and b"infonce_database_up 0.0" in Metrics().text(None)
    stuck.go.set()
    reader.close()


def test_a_change_is_a_line_with_the_id_that_its_answer_has(gateway: Gateway, written: io.StringIO) -> None:
    answer = gateway.upload(b"no json", name="a.jsonl")
    gateway.http.get("/v1/files")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    ours = [line for line in lines if line["logger"] == "service.observed"]
    assert [(line["event"], line["status"]) for line in ours] == [("POST /v1/files", 422)]
    assert ours[0]["request"] == answer.headers["x-request-id"] and ours[0]["milliseconds"] > 0
