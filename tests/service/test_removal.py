"""A collection is deleted with all that is its own, and not under a training that is to be deployed to it."""

import pytest

from service.store import removal
from service.store.records import JobStatus
from tests.service.conftest import BASE, Gateway, problem
from tests.service.test_collections import PETS, ask, build, make, put
from tests.service.test_keys import bearer
from tests.service.test_keys import make as make_key
from tests.service.test_tenancy import TUNING, asking


def remove(gateway: Gateway, name: str = "pets") -> None:
    id = gateway.http.get(f"/v1/collections/{name}").json()["id"]
    answer = gateway.http.delete(f"/v1/collections/{name}")
    assert answer.status_code == 200
    assert answer.json() == {"id": id, "object": "collection.deleted", "deleted": True}


@pytest.mark.parametrize("rows_at_once", [removal.ROWS_AT_ONCE, 2])
def test_it_goes_with_its_documents_and_its_name_is_free(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", rows_at_once)
    make(gateway)
    put(gateway, PETS)
    build(gateway)
    put(gateway, [{"id": "d", "text": "fish swim"}])
    gateway.http.delete("/v1/collections/pets/documents", params={"id": "a"})
    assert ask(gateway, query="fish swim").json()["hits"]
    remove(gateway)
    problem(gateway.http.get("/v1/collections/pets"), 404, "not_found")
    problem(ask(gateway, query="fish swim"), 404, "not_found")
    problem(put(gateway, PETS), 404, "not_found")
    problem(gateway.http.delete("/v1/collections/pets"), 404, "not_found")
    assert gateway.http.get("/v1/projects/default").json()["stored_bytes"] == 0
    assert make(gateway).json()["count"] == 0
    assert ask(gateway, query="fish swim").json()["hits"] == []


def test_its_index_jobs_end_with_it(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [{"id": str(number), "text": f"animal {number}"} for number in range(300)])
    [job] = gateway.http.get("/v1/jobs").json()["data"]
    assert job["status"] == JobStatus.QUEUED
    remove(gateway)
    assert gateway.http.get(f"/v1/jobs/{job['id']}").json()["status"] == JobStatus.CANCELLED


def test_the_call_that_made_it_may_be_sent_again(gateway: Gateway) -> None:
    once = {"idempotency-key": "one"}
    made = gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE}, headers=once).json()["id"]
    remove(gateway)
    again = gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE}, headers=once)
    assert again.status_code == 201 and again.json()["id"] != made


def test_it_stays_while_a_training_is_to_be_deployed_to_it(gateway: Gateway) -> None:
    make(gateway)
    deploy = {"collection": "pets", "policy": "always"}
    body = {"model": BASE, "training_file": gateway.pairs(), **asking(deploy=deploy)}
    job = gateway.http.post(TUNING, json=body).json()["id"]
    assert job in problem(gateway.http.delete("/v1/collections/pets"), 409, "in_use")["detail"]
    assert gateway.http.get("/v1/collections/pets").status_code == 200
    gateway.http.post(f"{TUNING}/{job}/cancel")
    remove(gateway)


def test_another_project_cannot_delete_it(gateway: Gateway) -> None:
    make(gateway)
    own = bearer(make_key(gateway))
    others = bearer(make_key(gateway, "others"))
    problem(gateway.http.delete("/v1/collections/pets", headers=others), 404, "not_found")
    assert gateway.http.get("/v1/collections/pets", headers=own).status_code == 200
