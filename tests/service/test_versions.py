"""A collection moves between versions, model and index at once, and nothing that was written is lost on the way."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from infonce.bm25 import Bm25Index
from infonce.columns import Columns
from infonce.config import Side
from infonce.index import VectorIndex
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store import catalog, documents, jobs, versions
from service.store.collection_records import VersionRecord
from service.store.records import DEFAULT_PROJECT, JobKind, new_id
from tests.service.conftest import BASE, DIMENSIONS, Bell, Gateway, WordEncoder, problem
from tests.service.test_collections import MANY, PETS, ask, build, indexed, make, put

OTHER = "acme/other"


def ask_for(gateway: Gateway, model: str = OTHER) -> Any:
    return gateway.http.post("/v1/collections/pets/versions", json={"model": model})


def finish(gateway: Gateway) -> VersionRecord:
    """The index job of a version is done, as a worker does it."""
    parts, now = gateway.parts, gateway.parts.clock()
    with parts.database.write() as tx:
        job = jobs.claim(tx, "light", owner="me", now=now)
        assert job is not None and job.kind is JobKind.INDEX and "version" in job.spec
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name=job.spec["collection"])
        found = list(documents.iterate(tx, collection.id, watermark=collection.watermark))
        vectors = WordEncoder().encode([str(one.text) for one in found], side=Side.DOCUMENT)
        before = versions.get(tx, collection.id, id=job.spec["version"])
        built = VersionRecord(
            id=before.id,
            collection_id=collection.id,
            created_at=now,
            model=before.model,
            fingerprint="words",
            dimension=DIMENSIONS,
            count=len(found),
            watermark=collection.watermark,
            folder=new_id("ver"),
            job_id=job.id,
        )
        folder = parts.artifacts.collection_version_path(collection.id, str(built.folder))
        index = VectorIndex.build(np.asarray(vectors), [one.id for one in found], fingerprint="words")
        Main(index=index, columns=Columns.build([one.metadata for one in found])).save(folder)
        Bm25Index.build([str(one.text) for one in found]).save(folder / WORDS_FOLDER)
        parts.artifacts.seal(folder)
        assert jobs.succeed(tx, job.id, attempt=job.attempt, now=now, result={})
        assert versions.renew(tx, before.id, built=built)
        versions.forget_changes(tx, collection.id)
        return versions.get(tx, collection.id, id=before.id)


def promote(gateway: Gateway, id: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return gateway.http.post("/v1/collections/pets/promote", json={"version": id, **more}, headers=headers or {})


@pytest.fixture
def two(gateway: Gateway) -> tuple[Gateway, VersionRecord, VersionRecord]:
    """A collection that answers by its first version, and a second one that is ready."""
    root = gateway.parts.settings.hub.models_root
    assert root is not None
    shutil.copytree(root / BASE, root / OTHER)
    make(gateway)
    put(gateway, PETS)
    first = build(gateway)
    answer = ask_for(gateway)
    assert (answer.status_code, answer.json()["status"], answer.json()["active"]) == (202, "building", False)
    return gateway, first, finish(gateway)


def test_a_version_is_built_beside_the_one_that_answers_and_moves_with_its_model(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, first, second = two
    assert ask(gateway, query="dog").json()["version"] == first.id
    listed = gateway.http.get("/v1/collections/pets/versions").json()["data"]
    assert [(one["id"], one["status"], one["active"]) for one in listed] == [
        (second.id, "ready", False),
        (first.id, "ready", True),
    ]
    moved = promote(gateway, second.id, headers={"if-match": f'"{first.id}"'}).json()
    assert (moved["active_version"], moved["previous_version"], moved["model"]) == (second.id, first.id, OTHER)
    body = ask(gateway, query="the dog barks").json()
    assert (body["version"], body["model"], body["hits"][0]["id"], len(body["hits"])) == (second.id, OTHER, "a", 3)
    stale = gateway.http.post("/v1/collections/pets/rollback", json={}, headers={"if-match": f'"{first.id}"'})
    problem(stale, 412, "precondition_failed")
    back = gateway.http.post("/v1/collections/pets/rollback", json={}).json()
    assert (back["active_version"], back["previous_version"], back["model"]) == (first.id, second.id, BASE)


def test_writes_of_every_moment_are_found_after_every_move(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, first, second = two
    expected = {"a", "b", "c"}
    for number, step in enumerate([second.id, None, None, None]):
        put(gateway, [{"id": f"n{number}", "text": f"the dog number{number}"}])
        gateway.http.delete("/v1/collections/pets/documents", params={"id": ["a"] if number == 2 else []})
        expected = (expected | {f"n{number}"}) - ({"a"} if number == 2 else set())
        answer = promote(gateway, step) if step else gateway.http.post("/v1/collections/pets/rollback", json={})
        assert answer.status_code == 200, answer.text
        body = ask(gateway, query=f"the dog number{number}", k=50).json()
        assert {hit["id"] for hit in body["hits"]} == expected and body["hits"][0]["id"] == f"n{number}"
        assert body["version"] == (second.id if number % 2 == 0 else first.id) and body["pending"] == 0


class OtherEncoder(WordEncoder):
    """One whose vectors are no words' of the other."""

    def fingerprint(self) -> str:
        return "other"


def test_what_the_move_had_to_embed_is_found_after_it(settings: GatewaySettings) -> None:
    root = settings.hub.models_root
    assert root is not None
    shutil.copytree(root / BASE, root / OTHER)
    seams = Seams(
        ring=lambda _id, _queue: None,
        ping=lambda: True,
        load=lambda found: OtherEncoder() if found.name == OTHER else WordEncoder(),
    )
    app = create_app(settings, seams)
    with TestClient(app) as http:
        gateway = Gateway(http=http, parts=app.state.wiring, bell=Bell(), loaded=[])
        make(gateway)
        put(gateway, PETS)
        build(gateway)
        second = replace(indexed(gateway, fingerprint="other"), model=OTHER)
        with gateway.parts.database.write() as tx:
            versions.insert(tx, second)
        put(gateway, [{"id": "d", "text": "wolves howl"}])  # of which only the model that answers has a vector
        assert promote(gateway, second.id).status_code == 200
        body = ask(gateway, query="wolves howl").json()
    assert (body["hits"][0]["id"], len(body["hits"]), body["pending"]) == ("d", 4, 0)
    assert body["version"] == second.id


def test_a_version_that_lacks_many_documents_takes_them_in_first(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, _, second = two
    put(gateway, MANY)  # which are embedded by no model yet
    detail = problem(promote(gateway, second.id), 409, "not_ready")["detail"]
    assert "lacks more than 256 documents" in detail
    build(gateway)
    assert finish(gateway).count == 260
    assert promote(gateway, second.id).status_code == 200
    assert len(ask(gateway, query="text", k=1_000).json()["hits"]) == 260


def test_what_must_not_move_does_not(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, first, second = two
    problem(promote(gateway, second.id, headers={"if-match": f'"{second.id}"'}), 412, "precondition_failed")
    problem(promote(gateway, "ver-" + "0" * 26), 404, "not_found")
    problem(gateway.http.post("/v1/collections/pets/rollback", json={}), 409, "not_ready")
    problem(gateway.http.delete(f"/v1/collections/pets/versions/{first.id}"), 409, "in_use")
    third = ask_for(gateway).json()
    assert "is being built by job" in problem(promote(gateway, third["id"]), 409, "not_ready")["detail"]
    assert gateway.http.get("/v1/collections/pets").json()["active_version"] == first.id
    assert gateway.http.delete(f"/v1/collections/pets/versions/{second.id}").json()["deleted"]
    problem(gateway.http.get(f"/v1/collections/pets/versions/{second.id}"), 404, "not_found")


def test_a_guard_asks_an_evaluation_of_both_models(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, _, second = two
    guard = {"evaluation": evaluated(gateway, {BASE: 0.5, OTHER: 0.49})}
    assert "-0.0100" in problem(promote(gateway, second.id, guard=guard), 409, "guard_failed")["detail"]
    assert promote(gateway, second.id, guard=guard | {"min_delta": -0.02}).status_code == 200
    lone = {"evaluation": evaluated(gateway, {BASE: 0.5})}
    gateway.http.post("/v1/collections/pets/rollback", json={})
    assert "evaluate both" in problem(promote(gateway, second.id, guard=lone), 409, "guard_failed")["detail"]


def evaluated(gateway: Gateway, scores: dict[str, float]) -> str:
    """The id of an evaluation with these results."""
    from service.store import evaluations
    from service.store.evaluations import EvaluationRecord
    from service.store.waiting import waiting_job

    id, now = new_id("eval"), gateway.parts.clock()
    job = waiting_job(JobKind.EVALUATE, project=DEFAULT_PROJECT, spec={}, now=now, subject=id)
    record = EvaluationRecord(
        id=id,
        project=DEFAULT_PROJECT,
        created_at=now,
        job_id=job.id,
        file_id="file-x",
        models=list(scores),
        ks=[10],
        metadata={},
    )
    told = [{"name": name, "metrics": {"ndcg@10": value}} for name, value in scores.items()]
    with gateway.parts.database.write() as tx:
        jobs.insert(tx, job)
        evaluations.insert_evaluation(tx, record)
        evaluations.complete(tx, job_id=job.id, folder=id, num_bytes=1, summary={"models": told})
    return id


def test_two_versions_are_compared_query_by_query(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, first, second = two
    asked = {"queries": ["the dog barks", "a cat"], "a": first.id, "b": second.id, "k": 2}
    body = gateway.http.post("/v1/collections/pets/compare", json=asked).json()
    assert (body["mean_overlap"], [one["moves"] for one in body["results"]]) == (1.0, [[], []])  # of one encoder here
    assert body["results"][0]["a"] == body["results"][0]["b"] and body["results"][0]["a"][0]["id"] == "a"


def test_only_the_last_step_can_be_taken_back(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, first, second = two
    promote(gateway, second.id)
    ask_for(gateway, BASE)
    third = finish(gateway)
    promote(gateway, third.id)
    ids = [one["id"] for one in gateway.http.get("/v1/collections/pets/versions").json()["data"]]
    assert set(ids) == {second.id, third.id}
    problem(promote(gateway, first.id), 404, "not_found")
