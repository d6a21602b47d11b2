"""A collection moves between versions, model and index at once, and nothing that was written is lost on the way."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import numpy as np
import pytest

from infonce.bm25 import Bm25Index
from infonce.columns import Columns
from infonce.config import Side
from infonce.index import VectorIndex
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from service.embedder import Embedder
from service.promotion import Move, Promotion
from service.settings import Quotas
from service.store import catalog, changes, documents, jobs, versions
from service.store.collection_records import VersionRecord
from service.store.errors import NotFound
from service.store.records import DEFAULT_PROJECT, JobKind, new_id
from tests.service.conftest import BASE, DIMENSIONS, Gateway, WordEncoder, problem
from tests.service.test_collections import MANY, PETS, ask, build, make, put

OTHER = "acme/other"


def ask_for(gateway: Gateway, model: str = OTHER, **headers: str) -> Any:
    return gateway.http.post("/v1/collections/pets/versions", json={"model": model}, headers=headers)


def finish(gateway: Gateway) -> VersionRecord:
    """The index job of a version is done, as a worker does it."""
    parts, now = gateway.parts, gateway.parts.clock()
    with parts.database.write() as tx:
        job = jobs.claim(tx, "light", owner="me", now=now)
        assert job is not None and job.kind is JobKind.INDEX and "version" in job.spec
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name=job.spec["collection"])
        found = list(documents.iterate(tx, collection.id, watermark=collection.watermark))
        before = versions.get(tx, collection.id, id=job.spec["version"])
        encoder = WordEncoder.of_model(str(before.model))
        vectors = encoder.encode([str(one.text) for one in found], side=Side.DOCUMENT)
        built = VersionRecord(
            id=before.id,
            collection_id=collection.id,
            created_at=now,
            model=before.model,
            fingerprint=encoder.fingerprint(),
            dimension=DIMENSIONS,
            count=len(found),
            watermark=collection.watermark,
            folder=new_id("ver"),
            job_id=job.id,
        )
        folder = parts.artifacts.collection_version_path(collection.id, str(built.folder))
        index = VectorIndex.build(np.asarray(vectors), [one.id for one in found], fingerprint=encoder.fingerprint())
        Main(index=index, columns=Columns.build([one.metadata for one in found])).save(folder)
        Bm25Index.build([str(one.text) for one in found]).save(folder / WORDS_FOLDER)
        parts.artifacts.seal(folder)
        assert jobs.succeed(tx, job.id, attempt=job.attempt, now=now, result={})
        assert versions.renew(tx, before.id, built=built)
        versions.forget_changes(tx, collection.id)
        return versions.get(tx, collection.id, id=before.id)


def tries(count: int) -> list[dict[str, str]]:
    """What OpenAI's client sends with a request and its retries."""
    return [{"x-stainless-retry-count": str(number)} for number in range(count)]


def listed(gateway: Gateway, path: str = "/v1/collections/pets/versions") -> set[str]:
    return {one["id"] for one in gateway.http.get(path, params={"limit": 100}).json()["data"]}


def roll_back(gateway: Gateway, **headers: str) -> Any:
    return gateway.http.post("/v1/collections/pets/rollback", json={}, headers=headers)


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


def test_a_gateway_that_has_a_version_open_finds_what_another_one_embeds_for_it(
    two: tuple[Gateway, VersionRecord, VersionRecord], serve: Callable[..., Gateway]
) -> None:
    gateway, first, second = two
    other = serve()
    put(gateway, [{"id": "late", "text": "wolves howl"}, {"id": "later", "text": "fish swim"}])
    asked = {"queries": ["wolves howl"], "a": first.id, "b": second.id}
    [compared] = other.http.post("/v1/collections/pets/compare", json=asked).json()["results"]
    assert (len(compared["a"]), len(compared["b"])) == (5, 3)
    assert promote(gateway, second.id).status_code == 200
    for one in (gateway, other, gateway):
        body = ask(one, query="wolves howl", k=50).json()
        assert ({hit["id"] for hit in body["hits"]}, body["pending"]) == ({"a", "b", "c", "late", "later"}, 0)
        assert (body["hits"][0]["id"], body["hits"][0]["score"]) == ("late", pytest.approx(1.0, abs=1e-5))
        put(gateway, [{"id": "a", "text": "the dog barks again"}])


class Overtaken:
    """Embeds, and before it has done so something happens."""

    def __init__(self, embedder: Embedder, happens: Callable[[], object]) -> None:
        self._embedder = embedder
        self._happens = happens

    def embed(self, *asked: Any, **named: Any) -> Any:
        self._happens()
        return self._embedder.embed(*asked, **named)


def test_nothing_is_kept_of_what_was_embedded_for_a_version_that_does_not_come_to_answer(
    two: tuple[Gateway, VersionRecord, VersionRecord],
) -> None:
    gateway, first, second = two
    put(gateway, [{"id": "late", "text": "wolves howl"}])
    path, parts = f"/v1/collections/pets/versions/{second.id}", gateway.parts
    embedder = cast(Embedder, Overtaken(parts.embedder, lambda: gateway.http.delete(path)))
    promotion = Promotion(database=parts.database, indexes=parts.search.indexes, lookup=parts.lookup, embedder=embedder)
    move = Move(expected=None, first=lambda tx: None, now=parts.clock())
    with pytest.raises(NotFound):
        promotion.promote(DEFAULT_PROJECT, "pets", id=second.id, guard=None, move=move)
    with parts.database.read() as tx:
        assert changes.vectors_of(tx, first.collection_id, fingerprint=str(second.fingerprint)) == {}
        assert changes.fingerprint_of(tx, first.collection_id) == first.fingerprint


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
    overlaps = []
    for text, one in zip(asked["queries"], body["results"], strict=True):
        a, b = (nearest(name, text)[:2] for name in (BASE, OTHER))
        assert ([hit["id"] for hit in one["a"]], [hit["id"] for hit in one["b"]]) == (a, b)
        assert {move["id"] for move in one["moves"]} == {id for pair in zip(a, b, strict=True) for id in pair} - {
            x for x, y in zip(a, b, strict=True) if x == y
        }
        overlaps.append(len({*a} & {*b}) / 2)
    assert body["mean_overlap"] == sum(overlaps) / 2 and {*overlaps} != {1.0}  # these models do not agree


def nearest(model: str, query: str) -> list[str]:
    """The ids of the pets, best first, by comparing the query with all of them."""
    encoder = WordEncoder.of_model(model)
    scores = (
        encoder.encode([row["text"] for row in PETS], side=Side.DOCUMENT) @ encoder.encode([query], side=Side.QUERY)[0]
    )
    return [PETS[place]["id"] for place in np.argsort(-scores)]


def test_only_the_last_step_can_be_taken_back(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, first, second = two
    promote(gateway, second.id)
    ask_for(gateway, BASE)
    third = finish(gateway)
    promote(gateway, third.id)
    ids = [one["id"] for one in gateway.http.get("/v1/collections/pets/versions").json()["data"]]
    assert set(ids) == {second.id, third.id}
    problem(promote(gateway, first.id), 404, "not_found")


def test_a_version_that_is_ordered_twice_is_built_once(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, *_ = two
    before, jobs_before = listed(gateway), listed(gateway, "/v1/jobs")
    made = [ask_for(gateway, **headers) for headers in tries(3)]
    assert [(one.status_code, one.json()) for one in made] == [(202, made[0].json())] * 3
    assert made[2].headers["idempotency-replayed"] == "true"
    assert listed(gateway) - before == {made[0].json()["id"]}
    assert listed(gateway, "/v1/jobs") - jobs_before == {made[0].json()["job"]}
    key = {"idempotency-key": "k"}
    named = [ask_for(gateway, **key).json()["id"] for _ in range(2)]
    assert named[0] == named[1] != made[0].json()["id"]
    problem(ask_for(gateway, BASE, **key), 409, "idempotency_mismatch")
    gateway.http.post("/v1/collections", json={"name": "birds", "model": BASE})
    elsewhere = gateway.http.post("/v1/collections/birds/versions", json={"model": OTHER}, headers=key)
    problem(elsewhere, 409, "idempotency_mismatch")
    assert gateway.http.delete(f"/v1/collections/pets/versions/{named[0]}").is_success
    assert ask_for(gateway, **key).json()["id"] not in named


def test_of_many_orders_at_once_one_builds_the_version(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, *_ = two
    before = listed(gateway)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask_for(gateway, **{"idempotency-key": "k"}), range(8)))
    assert {answer.status_code for answer in answers} == {202} and len(listed(gateway) - before) == 1


def test_a_version_takes_its_turn_and_its_room_as_every_job(serve: Callable[..., Gateway]) -> None:
    gateway = serve()
    make(gateway)
    full, poor = serve(quotas=Quotas(max_queued_jobs=0)), serve(min_free_bytes=1 << 60)
    problem(ask_for(full, BASE), 429, "queue_limit")
    problem(ask_for(poor, BASE), 507, "storage_full")
    assert not listed(gateway) and not listed(gateway, "/v1/jobs")
    some = serve(quotas=Quotas(max_queued_jobs=2))
    put(gateway, MANY)  # whose index job is none that somebody ordered
    assert [ask_for(some, BASE).status_code for _ in range(3)] == [202, 202, 429]


def test_a_move_that_is_asked_for_twice_is_made_once(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, first, second = two
    expected = {"if-match": f'"{first.id}"'}
    moved = [promote(gateway, second.id, headers=expected | headers) for headers in tries(3)]
    assert [one.status_code for one in moved] == [200] * 3 and moved[1].headers["idempotency-replayed"] == "true"
    problem(promote(gateway, second.id, headers=expected | tries(1)[0]), 412, "precondition_failed")
    back = [roll_back(gateway, **headers).json()["active_version"] for headers in tries(4)]
    assert back == [first.id] * 4
    assert roll_back(gateway).json()["active_version"] == second.id  # another one, not a repetition
    key = {"idempotency-key": "k"}
    assert [roll_back(gateway, **key).json()["active_version"] for _ in range(2)] == [first.id] * 2
    problem(roll_back(gateway, **key, **expected), 409, "idempotency_mismatch")
    assert gateway.http.get("/v1/collections/pets").json()["active_version"] == first.id


def test_of_many_rollbacks_at_once_one_moves(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, first, second = two
    promote(gateway, second.id)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: roll_back(gateway, **{"idempotency-key": "k"}), range(8)))
    assert {(one.status_code, one.json()["active_version"]) for one in answers} == {(200, first.id)}


def test_a_move_that_was_refused_leaves_its_key_free(two: tuple[Gateway, VersionRecord, VersionRecord]) -> None:
    gateway, _, second = two
    key = {"idempotency-key": "k"}
    put(gateway, MANY)
    problem(promote(gateway, second.id, headers=key), 409, "not_ready")
    build(gateway)
    finish(gateway)
    assert promote(gateway, second.id, headers=key).json()["active_version"] == second.id


def test_a_collection_that_goes_while_versions_are_ordered_takes_them_along(gateway: Gateway) -> None:
    def delete() -> Any:
        return gateway.http.delete("/v1/collections/pets")

    for _ in range(5):
        make(gateway)
        acts = [partial(ask_for, gateway, BASE)] * 12
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda act: act().status_code, [*acts[:6], delete, *acts[6:]]))
        assert set(answers) <= {200, 202, 404} and answers[6] == 200
        assert not listed(gateway, "/v1/collections")
