"""A training is repeated from its record, ends early with the best it made, and tells its curve and its model."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.store import curves, jobs
from service.store.records import DEFAULT_PROJECT, JobError, JobKind, JobRecord, Scope
from service.store.waiting import waiting_job
from tests.service.conftest import BASE, Gateway, lines, problem
from tests.service.test_jobs import JOBS, contrastive, stored
from tests.service.test_scopes import with_scopes

CHOSEN = {"precision": "float32", "max_chunk_tokens": 2048, "pooling": "mean", "max_seq_length": 64, "batch_size": 16}


def ordered(gateway: Gateway, **body: Any) -> str:
    return str(gateway.order(training_file=gateway.pairs(), **body).json()["id"])


def claim(gateway: Gateway, **update: Any) -> JobRecord:
    """The next training runs, and its worker has said that."""
    with gateway.parts.database.write() as tx:
        job = jobs.claim(tx, "train", owner="test", now=time.time())
        assert job is not None
        assert jobs.heartbeat(tx, job.id, attempt=job.attempt, now=time.time(), update=update)
    return job


def failed(gateway: Gateway, **update: Any) -> str:
    """The id of a training that failed after its worker had said that."""
    id, job = ordered(gateway, metadata={"team": "a"}), claim(gateway, **update)
    with gateway.parts.database.write() as tx:
        assert jobs.fail(tx, job.id, attempt=1, now=time.time(), error=JobError(code="c", message="m"))
    return id


def test_a_training_that_has_ended_is_repeated_with_what_was_chosen_for_it(gateway: Gateway) -> None:
    id = failed(gateway, resolved=CHOSEN)
    answer = gateway.http.post(f"{JOBS}/{id}/rerun")
    again = answer.json()
    assert (answer.status_code, again["status"]) == (200, "queued")
    assert (again["rerun_of"], again["metadata"]) == (id, {"team": "a"})
    first, second = stored(gateway, id), stored(gateway, again["id"])
    assert second.id != first.id and second.resolved == {}
    same = {"config", "encoder", "rerun_of"}
    assert {k: v for k, v in second.spec.items() if k not in same} == {
        k: v for k, v in first.spec.items() if k not in same
    }
    assert second.spec["config"] == {**first.spec["config"], "precision": "float32"} | {
        "max_chunk_tokens": 2048,
        "batch_size": 16,
    }
    assert second.spec["encoder"] == {**first.spec["encoder"], "pooling": "mean", "max_seq_length": 64}


def test_a_training_that_goes_on_is_not_repeated(gateway: Gateway) -> None:
    id = ordered(gateway)
    assert "queued" in problem(gateway.http.post(f"{JOBS}/{id}/rerun"), 409, "conflict")["detail"]
    claim(gateway)
    assert "running" in problem(gateway.http.post(f"{JOBS}/{id}/rerun"), 409, "conflict")["detail"]


def test_a_training_whose_file_is_gone_cannot_be_repeated(gateway: Gateway) -> None:
    id = failed(gateway)
    assert gateway.http.delete(f"/v1/files/{stored(gateway, id).spec['training_file']}").status_code == 200
    problem(gateway.http.post(f"{JOBS}/{id}/rerun"), 404, "not_found")


def test_a_rerun_that_comes_twice_makes_one_job_and_of_another_job_is_another_request(gateway: Gateway) -> None:
    one, other = failed(gateway), failed(gateway)
    key = {"idempotency-key": "again"}
    with ThreadPoolExecutor(4) as crowd:
        made = [crowd.submit(gateway.http.post, f"{JOBS}/{one}/rerun", headers=key) for _ in range(4)]
    assert len({future.result().json()["id"] for future in made}) == 1
    problem(gateway.http.post(f"{JOBS}/{other}/rerun", headers=key), 409, "idempotency_mismatch")


def test_to_repeat_what_deploys_takes_the_scope_of_what_it_deploys_to(gateway: Gateway) -> None:
    rows = lines([{"_id": "d", "text": "a dog"}])
    corpus = gateway.upload(rows, purpose="corpus", name="c.jsonl").json()["id"]
    id = ordered(gateway, method=contrastive(deploy={"collection": "faq", "corpus_file": corpus}))
    assert gateway.http.post(f"{JOBS}/{id}/cancel").status_code == 200
    train, both = with_scopes(gateway, Scope.TRAIN), with_scopes(gateway, Scope.TRAIN, Scope.INDEX)
    problem(gateway.http.post(f"{JOBS}/{id}/rerun", headers=train), 403, "insufficient_scope")
    assert gateway.http.post(f"{JOBS}/{id}/rerun", headers=both).status_code == 200


def test_what_was_to_be_deployed_to_a_collection_that_is_gone_cannot_be_repeated(gateway: Gateway) -> None:
    assert gateway.http.post("/v1/collections", json={"name": "faq", "model": BASE}).is_success
    id = ordered(gateway, method=contrastive(deploy={"collection": "faq"}))
    assert gateway.http.post(f"{JOBS}/{id}/cancel").status_code == 200
    assert gateway.http.delete("/v1/collections/faq").status_code == 200
    assert "'faq'" in problem(gateway.http.post(f"{JOBS}/{id}/rerun"), 404, "not_found")["detail"]


def test_a_training_with_nothing_to_keep_is_cancelled(gateway: Gateway) -> None:
    waiting = gateway.http.post(f"{JOBS}/{ordered(gateway)}/cancel", params={"keep": "best"}).json()
    assert (waiting["status"], waiting["keep_requested"]) == ("cancelled", False)
    id = ordered(gateway)
    claim(gateway, phase="baseline")
    running = gateway.http.post(f"{JOBS}/{id}/cancel", params={"keep": "best"}).json()
    assert (running["status"], running["cancel_requested"], running["keep_requested"]) == ("running", True, False)


def test_a_training_that_makes_steps_is_asked_once_to_end_early_and_can_still_be_cancelled(gateway: Gateway) -> None:
    id = ordered(gateway)
    claim(gateway, phase="training")
    for _ in range(2):
        asked = gateway.http.post(f"/v1/jobs/{id}/cancel", params={"keep": "best"}).json()
        assert (asked["status"], asked["cancel_requested"], asked["keep_requested"]) == ("running", False, True)
    assert gateway.http.post(f"{JOBS}/{id}/pause").json()["pause_requested"] is False
    assert gateway.http.post(f"{JOBS}/{id}/cancel").json()["cancel_requested"] is True
    told = [event["data"]["type"] for event in gateway.http.get(f"{JOBS}/{id}/events").json()["data"]]
    assert told.count("keep_requested") == told.count("cancel_requested") == 1


def test_a_paused_training_that_has_saved_steps_waits_for_a_worker_that_publishes_them(gateway: Gateway) -> None:
    id, job = ordered(gateway), claim(gateway, saved_step=7)
    gateway.http.post(f"{JOBS}/{id}/pause")
    with gateway.parts.database.write() as tx:
        jobs.release(tx, id, attempt=job.attempt, now=time.time(), lost=False, reason="paused")
    asked = gateway.http.post(f"{JOBS}/{id}/cancel", params={"keep": "best"}).json()
    assert (asked["status"], asked["keep_requested"], asked["progress"]["queue_position"]) == ("queued", True, 1)


def test_what_has_ended_or_makes_no_model_keeps_nothing(gateway: Gateway) -> None:
    best = {"keep": "best"}
    problem(gateway.http.post(f"{JOBS}/{failed(gateway)}/cancel", params=best), 409, "job_terminal")
    index = waiting_job(JobKind.INDEX, project=DEFAULT_PROJECT, spec={}, now=1.0)
    with gateway.parts.database.write() as tx:
        jobs.insert(tx, index)
    problem(gateway.http.post(f"/v1/jobs/{index.id}/cancel", params=best), 409, "conflict")
    problem(gateway.http.post(f"/v1/jobs/{index.id}/cancel", params={"keep": "worst"}), 422, "invalid_value")


@pytest.mark.parametrize("verbs", [["cancel", "pause"], ["pause", "resume"], ["cancel?keep=best", "pause"]])
def test_wishes_that_compete_leave_the_job_in_one_state_that_an_answer_told(gateway: Gateway, verbs: list[str]) -> None:
    id = ordered(gateway)
    with ThreadPoolExecutor(8) as crowd:
        sent = [crowd.submit(gateway.http.post, f"{JOBS}/{id}/{verb}") for verb in verbs * 8]
    answers = [future.result() for future in sent]
    assert {answer.status_code for answer in answers} <= {200, 409}
    end = gateway.http.get(f"{JOBS}/{id}").json()["status"]
    assert end in {answer.json()["status"] for answer in answers if answer.status_code == 200}
    assert end == "cancelled" or "cancel" not in verbs[0]


def test_jobs_are_listed_by_kind_and_status_window_by_window(gateway: Gateway) -> None:
    ids = [ordered(gateway) for _ in range(3)]
    index = waiting_job(JobKind.INDEX, project=DEFAULT_PROJECT, spec={}, now=time.time())
    with gateway.parts.database.write() as tx:
        jobs.insert(tx, index)
    listed = gateway.http.get("/v1/jobs", params={"kind": "index"}).json()
    assert ([job["id"] for job in listed["data"]], listed["has_more"]) == ([index.id], False)
    asked = {"kind": "train", "status": "queued", "limit": 1, "order": "asc"}
    first = gateway.http.get("/v1/jobs", params=asked).json()
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[0], ids[0], True)
    claim(gateway)  # the first one, which is the cursor
    rest = gateway.http.get("/v1/jobs", params=asked | {"after": ids[0], "limit": 9}).json()
    assert [job["id"] for job in rest["data"]] == ids[1:]
    for wrong in ({"kind": "nothing"}, {"status": "validating_files"}):
        problem(gateway.http.get("/v1/jobs", params=wrong), 422, "invalid_value")


def test_the_curve_is_told_while_the_job_runs(gateway: Gateway) -> None:
    id = ordered(gateway)
    assert gateway.http.get(f"{JOBS}/{id}/metrics").json()["columns"] == {}
    with gateway.parts.database.write() as tx:
        curves.add(tx, id, points=[{"step": step, "loss": 1.0 / step} for step in (1, 2, 2)])
        curves.add(tx, id, points=[{"step": 2, "loss": 0.25}, {"step": 3, "loss": 0.125}])
    told = gateway.http.get(f"{JOBS}/{id}/metrics").json()
    assert (told["object"], told["job"]) == ("fine_tuning.job.metrics", id)
    assert told["columns"] == {"step": [1, 2, 3], "loss": [1.0, 0.25, 0.125]}
