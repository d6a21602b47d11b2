"""A job's log can be found by the request that ordered it: in the gateway, in the worker and in its child."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.store import events, jobs
from service.store.records import JobKind, Page
from service.store.waiting import waiting_job
from tests.service.conftest import BASE, Gateway, lines
from tests.service.workshop import workshop
from worker.lifecycle import answer

ROOT = Path(__file__).parents[2]
SENT = {"x-request-id": "mine-1"}
CHILD = """
import logging, sys
from pathlib import Path
from infonce.errors import NonFiniteLoss
from worker.child import main
def body(order, progress):
    logging.getLogger("a.library").warning("it is hot")
    raise NonFiniteLoss("the loss is nan at step 7", step=7)
main(Path(sys.argv[1]), int(sys.argv[2]), body=body)
"""


def ordered(gateway: Gateway, **headers: str) -> str:
    body = {"model": BASE, "training_file": gateway.pairs()}
    return str(gateway.http.post("/v1/fine_tuning/jobs", json=body, headers=headers).json()["id"])


def lines_of(text: str, job: str) -> list[dict[str, Any]]:
    """The lines of a log that are about the job; a child's has a traceback between them."""
    said = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in said if line.get("job") == job]


def asked_by(gateway: Gateway, job: str) -> list[Any]:
    """The requests that the job's events name."""
    with gateway.parts.database.read() as tx:
        told, _ = events.page(tx, job, page=Page(limit=100, descending=False))
    return [event.data["request_id"] for event in told if "request_id" in event.data]


def test_the_gateway_says_which_job_a_request_ordered_and_only_once(gateway: Gateway, written: io.StringIO) -> None:
    job = ordered(gateway, **SENT, **{"idempotency-key": "k"})
    (line,) = lines_of(written.getvalue(), job)
    assert (line["request"], line["level"]) == ("mine-1", "info") and job in line["event"]
    told = gateway.http.get(f"/v1/fine_tuning/jobs/{job}/events").json()["data"]
    assert told[0]["data"]["request_id"] == "mine-1"


def test_worker_and_child_name_the_request_that_ordered_their_job(
    gateway: Gateway, written: io.StringIO, tmp_path: Path
) -> None:
    job, script = ordered(gateway, **SENT), tmp_path / "child.py"
    script.write_text(CHILD)
    shop = workshop(gateway.parts)
    settings = replace(shop.settings, environment={"PYTHONPATH": str(ROOT)})
    shop = replace(shop, settings=settings, command=(sys.executable, str(script)))
    answer(lambda: shop, "train")
    said = [line for line in lines_of(written.getvalue(), job) if line["logger"].startswith("worker.")]
    assert len(said) == 2 and {line["request"] for line in said} == {"mine-1"}
    (hot,) = lines_of((shop.artifacts.run_path(job, 1) / "log.txt").read_text(), job)
    assert (hot["event"], hot["request"], hot["attempt"]) == ("it is hot", "mine-1", 1)


def test_a_job_that_documents_lead_to_names_their_request(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    rows = [{"id": str(number), "text": f"text {number}"} for number in range(300)]
    headers = SENT | {"content-type": "application/x-ndjson"}
    job = gateway.http.post("/v1/collections/pets/documents", content=lines(rows), headers=headers).json()["job"]
    assert asked_by(gateway, job) == ["mine-1"]


def test_a_job_that_no_request_ordered_names_none(gateway: Gateway) -> None:
    job = waiting_job(JobKind.EXPORT, project="default", spec={"model": BASE}, now=gateway.parts.clock())
    with gateway.parts.database.write() as tx:
        jobs.insert(tx, job)
    assert asked_by(gateway, job.id) == []
