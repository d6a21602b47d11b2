"""What a move needs stays, what allowed it holds when it is made, and what is told of versions is true."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from service.document_bodies import documents_in
from service.embedder import Embedder
from service.errors import ServiceError
from service.ingest import Into, Stored, store_documents
from service.promotion import Move
from service.schemas.versions import Guard
from service.settings import Quotas
from service.store import catalog, jobs
from service.store.collection_records import VersionRecord
from service.store.database import Database
from service.store.errors import NotFound
from service.store.records import DEFAULT_PROJECT, JobKind
from service.store.waiting import waiting_job
from tests.service.conftest import BASE, Gateway, problem
from tests.service.test_collections import PETS, ask, build, make, put
from tests.service.test_models import TUNED, published
from tests.service.test_versions import OTHER, Overtaken, ask_for, evaluated, promote, roll_back, two
from tests.service.workshop import work_off_index

__all__ = ["two"]  # a fixture


@pytest.fixture
def moved(gateway: Gateway) -> tuple[Gateway, str, str]:
    """A collection that answers by a tuned model, after it answered by the base model; the ids of both versions."""
    published(gateway.parts)
    make(gateway)
    put(gateway, PETS)
    first = build(gateway)
    second = str(ask_for(gateway, TUNED).json()["id"])
    work_off_index(gateway.parts)
    assert promote(gateway, second).is_success
    return gateway, first.id, second


def test_the_model_of_a_version_that_can_answer_stays(moved: tuple[Gateway, str, str]) -> None:
    gateway, first, second = moved
    model = f"/v1/models/{TUNED}"
    assert "answers by" in problem(gateway.http.delete(model), 409, "in_use")["detail"]
    assert roll_back(gateway).json()["active_version"] == first
    assert second in problem(gateway.http.delete(model), 409, "in_use")["detail"]
    assert roll_back(gateway).json()["active_version"] == second
    assert ask(gateway, query="the dog barks").json()["hits"][0]["id"] == "a"
    roll_back(gateway)
    assert gateway.http.delete(f"/v1/collections/pets/versions/{second}").is_success
    assert gateway.http.delete(model).is_success
    problem(roll_back(gateway), 409, "not_ready")


def test_no_index_is_ordered_by_a_model_that_has_just_gone(gateway: Gateway) -> None:
    make(gateway)
    database: Database = gateway.parts.database
    with database.read() as tx:
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
    spec = {"collection": collection.id, "version": "ver-1", "of_model": TUNED}
    job = waiting_job(JobKind.INDEX, project=DEFAULT_PROJECT, spec=spec, now=1.0, subject=collection.id)
    with pytest.raises(NotFound, match=TUNED), database.write() as tx:
        jobs.insert(tx, job)


def test_a_guard_judges_the_version_that_answers_when_the_move_is_made(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, _, second = two
    parts, root = gateway.parts, gateway.parts.settings.hub.models_root
    assert root is not None
    shutil.copytree(root / OTHER, root / "acme/best")
    best = ask_for(gateway, "acme/best").json()["id"]
    work_off_index(parts)
    guard = Guard(evaluation=evaluated(gateway, {BASE: 0.5, OTHER: 0.6, "acme/best": 0.7}))
    embedder = cast(Embedder, Overtaken(parts.embedder, lambda: promote(gateway, best)))
    move = Move(expected=None, first=lambda tx: None, now=parts.clock())
    with pytest.raises(ServiceError, match=r"-0\.1000 against acme/best"):
        replace(parts.promotion, embedder=embedder).promote(
            DEFAULT_PROJECT, "pets", id=second.id, guard=guard, move=move
        )
    assert gateway.http.get("/v1/collections/pets").json()["active_version"] == best


def test_a_version_whose_job_was_cancelled_is_not_said_to_be_built(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, first, _ = two
    made = ask_for(gateway).json()
    asked = {"queries": ["dog"], "a": first.id, "b": made["id"]}
    path = "/v1/collections/pets/compare"
    for answer in (promote(gateway, made["id"]), gateway.http.post(path, json=asked)):
        assert f"is being built by job {made['job']}" in problem(answer, 409, "not_ready")["detail"]
    assert gateway.http.post(f"/v1/jobs/{made['job']}/cancel").is_success
    for answer in (promote(gateway, made["id"]), gateway.http.post(path, json=asked)):
        told = problem(answer, 409, "not_ready")["detail"]
        assert f"was never built: its job {made['job']} is cancelled" in told and "delete it" in told
    assert gateway.http.get(f"/v1/collections/pets/versions/{made['id']}").json()["status"] == "failed"


def stored_while_moving(gateway: Gateway, versions: Iterable[str]) -> Stored:
    """A document of one text; each time when it has been embedded, the collection moves to the next version first."""
    parts, left = gateway.parts, iter(versions)

    def embed(*asked: Any) -> Any:
        made = parts.search.embed_documents(*asked)
        if (version := next(left, None)) is not None:
            assert promote(gateway, version).is_success
        return made

    into = Into(project=DEFAULT_PROJECT, name="pets", embed=embed, quotas=Quotas(), now=parts.clock())
    bodies = documents_in(b'{"documents": [{"id": "late", "text": "wolves howl"}]}')
    return store_documents(parts.database, into, bodies=bodies)


def test_a_text_whose_collection_moves_while_it_is_embedded_is_embedded_again_and_found_at_once(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, first, second = two
    accepted = stored_while_moving(gateway, [second.id]).accepted
    assert (accepted.pending, accepted.job) == (0, None)
    for version in (second.id, first.id):
        found = ask(gateway, query="wolves howl").json()
        assert (found["version"], found["hits"][0]["id"]) == (version, "late")
        roll_back(gateway)


def test_a_text_whose_collection_moves_each_time_is_left_to_a_job(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, first, second = two
    accepted = stored_while_moving(gateway, [second.id, first.id, second.id]).accepted
    assert accepted.pending == 1 and accepted.job is not None
    assert "late" not in [hit["id"] for hit in ask(gateway, query="wolves howl").json()["hits"]]
    work_off_index(gateway.parts)
    assert ask(gateway, query="wolves howl").json()["hits"][0]["id"] == "late"


def test_a_collection_that_took_the_name_while_a_text_was_embedded_does_not_get_it(gateway: Gateway) -> None:
    make(gateway)
    parts = gateway.parts

    def embed(*asked: Any) -> Any:
        made = parts.search.embed_documents(*asked)
        assert gateway.http.delete("/v1/collections/pets").is_success
        assert make(gateway, model=None, dimension=3).is_success
        return made

    into = Into(project=DEFAULT_PROJECT, name="pets", embed=embed, quotas=Quotas(), now=parts.clock())
    with pytest.raises(NotFound):
        store_documents(parts.database, into, bodies=documents_in(b'{"documents": [{"id": "late", "text": "wolves"}]}'))
    assert gateway.http.get("/v1/collections/pets").json()["count"] == 0
