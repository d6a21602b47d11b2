"""One project cannot see that another one's object exists: every route, walked with a foreign key."""

from typing import Any

import pytest

from service.store import catalog, jobs
from service.store.records import JobKind, JobRecord, JobStatus, ModelRecord, Phase, new_id
from tests.service.conftest import BASE, DIMENSIONS, Gateway
from tests.service.test_keys import bearer, make

BODIES: dict[str, dict[str, Any]] = {
    "/v1/collections/{c}/documents": {"documents": [{"id": "a", "text": "a dog"}]},
    "/v1/collections/{c}/query": {"query": "a dog"},
    "/v1/api_keys/{id}/rotate": {},
    "/v1/projects/{id}": {},
}
NOBODYS = {"file": "file-" + "0" * 26, "ftjob": "ftjob-" + "0" * 26, "col": "col-" + "0" * 26, "key": "00000000"}


@pytest.fixture
def owned(gateway: Gateway) -> dict[str, str]:
    """What project `default` owns, by kind, and its own administrator's key."""
    file = gateway.pairs()
    job = str(gateway.order(training_file=file).json()["id"])
    faq = {"name": "faq", "model": BASE}
    collection = str(gateway.http.post("/v1/collections", json=faq).json()["id"])
    done = JobRecord(
        id=new_id("ftjob"),
        project="default",
        kind=JobKind.TRAIN,
        status=JobStatus.SUCCEEDED,
        phase=Phase.WAITING,
        created_at=1.0,
        spec={},
    )
    model = ModelRecord(
        id="ft:base:faq:12345678",
        project="default",
        created_at=1.0,
        folder="m",
        parent=BASE,
        job_id=done.id,
        dimensions=DIMENSIONS,
        max_tokens=64,
        fingerprint="f",
        summary={},
    )
    with gateway.parts.database.write() as tx:
        jobs.insert(tx, done)
        catalog.insert_model(tx, model)
    key = make(gateway)
    return {"file": file, "ftjob": job, "col": collection, "model": model.id, "key": key.split("_")[1], "admin": key}


def kind_of(path: str) -> str:
    roots = {"/v1/files": "file", "/v1/fine_tuning": "ftjob", "/v1/jobs": "ftjob", "/v1/models": "model"}
    roots |= {"/v1/collections": "col", "/v1/api_keys": "key", "/v1/projects": "project"}
    return next(kind for root, kind in roots.items() if path.startswith(root))


def test_every_route_answers_for_a_foreign_id_as_for_a_random_one(gateway: Gateway, owned: dict[str, str]) -> None:
    foreign = bearer(make(gateway, "other")) | {"x-request-id": "same"}
    nobodys = NOBODYS | {"model": "ft:base:faq:00000000", "project": "nobody"}
    walked = 0
    for path, methods in gateway.http.get("/openapi.json").json()["paths"].items():
        if "{" not in path or not path.startswith("/v1/"):
            continue
        kind = kind_of(path)
        ids = {"theirs": owned.get(kind, "default"), "nobodys": nobodys[kind]}
        for method in methods:
            said = set()
            for id in ids.values():
                place = path.replace("{id}", id).replace("{c}", id)
                answer = gateway.http.request(method, place, json=BODIES.get(path), headers=foreign)
                assert answer.status_code == 404, (method, place, answer.text)
                said.add(answer.text.replace(id, "ID"))
            assert len(said) == 1, (method, path, said)
            walked += 1
    assert walked >= 18


def test_no_list_shows_what_another_project_owns(gateway: Gateway, owned: dict[str, str]) -> None:
    foreign = bearer(make(gateway, "other"))
    lists = [path for path in gateway.http.get("/openapi.json").json()["paths"] if "{" not in path]
    for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/jobs", "/v1/models", "/v1/collections", "/v1/api_keys"):
        assert path in lists
        text = gateway.http.get(path, headers=foreign).text
        assert not [kind for kind, id in owned.items() if id in text], path


@pytest.mark.parametrize("where", ["training_file", "validation_file", "model", "collection", "embeddings"])
def test_a_foreign_reference_in_a_body_is_an_unknown_one(gateway: Gateway, owned: dict[str, str], where: str) -> None:
    foreign = bearer(make(gateway, "other")) | {"x-request-id": "same"}
    upload = {"files": {"file": ("p.jsonl", b'{"query": "a", "positive": "b"}\n')}, "data": {"purpose": "fine-tune"}}
    own = gateway.http.post("/v1/files", headers=foreign, **upload).json()["id"]
    said = set()
    for file, model in ((owned["file"], owned["model"]), (NOBODYS["file"], "ft:base:faq:00000000")):
        job = {"model": BASE, "training_file": own, "validation_file": None}
        path, body, id = {
            "training_file": ("/v1/fine_tuning/jobs", job | {"training_file": file}, file),
            "validation_file": ("/v1/fine_tuning/jobs", job | {"validation_file": file}, file),
            "model": ("/v1/fine_tuning/jobs", job | {"model": model}, model),
            "collection": ("/v1/collections", {"name": "c", "model": model}, model),
            "embeddings": ("/v1/embeddings", {"model": model, "input": "a dog"}, model),
        }[where]
        answer = gateway.http.post(path, json=body, headers=foreign)
        assert answer.status_code in (404, 422), answer.text
        said.add((answer.status_code, answer.text.replace(id, "ID")))
    assert len(said) == 1
