"""Collections over a real FAISS index that the test builds as the worker does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.bm25 import Bm25Index
from infonce.columns import Columns
from infonce.config import Side
from infonce.index import VectorIndex
from infonce.index_files import INDEX_FILE
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from service.store import catalog, documents, jobs, versions
from service.store.collection_records import VersionRecord
from service.store.records import DEFAULT_PROJECT, JobKind, new_id
from tests.service.conftest import BASE, DIMENSIONS, Gateway, WordEncoder, lines, problem
from tests.service.workshop import work_off_index

NDJSON = {"content-type": "application/x-ndjson"}
PETS = [{"id": "a", "text": "the dog barks"}, {"id": "b", "text": "a cat sleeps"}, {"id": "c", "text": "birds sing"}]


def make(gateway: Gateway, **body: Any) -> Any:
    return gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE, **body})


def put(gateway: Gateway, rows: list[dict[str, Any]], name: str = "pets") -> Any:
    return gateway.http.post(f"/v1/collections/{name}/documents", json={"documents": rows})


def ask(gateway: Gateway, name: str = "pets", **body: Any) -> Any:
    return gateway.http.post(f"/v1/collections/{name}/query", json=body)


def indexed(gateway: Gateway, name: str = "pets", *, fingerprint: str | None = "words") -> VersionRecord:
    """What an index job makes of the documents: a sealed folder, and a version that is not inserted yet."""
    parts, now = gateway.parts, gateway.parts.clock()
    with parts.database.write() as tx:
        jobs.order_index(tx, catalog.get_collection(tx, DEFAULT_PROJECT, name=name), now=now)
        job = jobs.claim(tx, "light", owner="me", now=now)
        assert job is not None and job.kind is JobKind.INDEX
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name=job.spec["collection"])
        found = list(documents.iterate(tx, collection.id, watermark=collection.watermark))
        assert jobs.succeed(tx, job.id, attempt=job.attempt, now=now, result={})
    vectors = [
        np.frombuffer(d.vector, "<f4")
        if d.vector is not None
        else WordEncoder().encode([str(d.text)], side=Side.DOCUMENT)[0]
        for d in found
    ]
    version = VersionRecord(
        id=new_id("ver"),
        collection_id=collection.id,
        created_at=now,
        model=collection.model,
        fingerprint=fingerprint,
        dimension=collection.dimension,
        count=len(found),
        watermark=collection.watermark,
        folder=new_id("ver"),
        job_id=job.id,
    )
    index = VectorIndex.build(np.stack(vectors), [d.id for d in found], fingerprint=fingerprint)
    folder = parts.artifacts.collection_version_path(collection.id, version.folder)
    Main(index=index, columns=Columns.build([d.metadata for d in found])).save(folder)
    if collection.model is not None:
        Bm25Index.build([d.text or "" for d in found]).save(folder / WORDS_FOLDER)
    parts.artifacts.seal(folder)
    return version


def build(gateway: Gateway, name: str = "pets", *, fingerprint: str | None = "words") -> VersionRecord:
    """The waiting index job is done: its version answers from now on."""
    version = indexed(gateway, name, fingerprint=fingerprint)
    with gateway.parts.database.write() as tx:
        catalog.insert_version_and_activate(tx, version)
    return version


def test_a_collection_takes_its_dimension_from_its_model(gateway: Gateway) -> None:
    answer = make(gateway, metadata={"team": "search"})
    made = answer.json()
    assert (answer.status_code, made["object"], made["id"][:4]) == (201, "collection", "col-")
    assert (made["dimension"], made["count"], made["pending"]) == (DIMENSIONS, 0, 0)
    for name in ("pets", made["id"]):
        assert gateway.http.get(f"/v1/collections/{name}").json() == made
    assert gateway.http.get("/v1/collections").json()["data"] == [made]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "Pets"}, 422, "invalid_value"),
        ({"name": "col-pets"}, 422, "invalid_value"),
        ({"name": "import", "dimension": 2}, 422, "invalid_value"),
        ({"name": "p" * 64}, 422, "invalid_value"),
        ({"model": "nobody/knows"}, 422, "unknown_base_model"),
        ({"model": None}, 422, "missing_field"),
        ({"model": None, "dimension": 0}, 422, "invalid_value"),
        ({"dimension": 3}, 422, "index_mismatch"),
        ({"dimensions": 8}, 422, "unknown_field"),
    ],
)
def test_a_collection_that_cannot_work_is_refused(
    gateway: Gateway, body: dict[str, Any], status: int, code: str
) -> None:
    problem(make(gateway, **body), status, code)
    assert gateway.http.get("/v1/collections").json()["data"] == []


def test_a_name_is_given_once(gateway: Gateway) -> None:
    make(gateway)
    answer = make(gateway)
    problem(answer, 409, "name_taken")
    assert answer.headers["x-should-retry"] == "false"


MANY = [{"id": f"d{n}", "text": f"text {n}"} for n in range(257)]


def test_a_text_query_finds_the_nearest_with_text_and_metadata(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [PETS[0] | {"metadata": {"lang": "en", "tags": ["dog", 1]}}, *PETS[1:]])
    version = build(gateway)
    body = ask(gateway, query="dog barks", k=2).json()
    assert body["hits"][0]["id"] == "a" and len(body["hits"]) == 2
    hit = body["hits"][0]
    assert (hit["text"], hit["metadata"]) == ("the dog barks", {"lang": "en", "tags": ["dog", 1]})
    assert body["hits"][0]["score"] >= body["hits"][1]["score"]
    assert (body["object"], body["collection"], body["version"]) == ("collection.query", "pets", version.id)
    assert (body["model"], body["warnings"], body["pending"]) == (BASE, [], 0)


def test_what_is_not_asked_for_is_not_sent(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    build(gateway)
    hit = ask(gateway, query="dog", include=["text"]).json()["hits"][0]
    assert hit["text"] is not None and hit["metadata"] is None


def test_hits_equal_a_slow_obvious_search(gateway: Gateway) -> None:
    make(gateway)
    texts = [f"word{n % 7} word{n % 11} word{n}" for n in range(50)]
    put(gateway, [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)])
    build(gateway)
    encoder = WordEncoder()
    scores = encoder.encode(texts, side=Side.DOCUMENT) @ encoder.encode(["word3 word5"], side=Side.QUERY)[0]
    hits = ask(gateway, query="word3 word5", k=10).json()["hits"]
    assert [hit["id"] for hit in hits] == [f"d{n}" for n in np.argsort(-scores)[:10]]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:10], abs=1e-6)


def test_more_hits_than_documents_are_the_documents(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    build(gateway)
    assert len(ask(gateway, query="dog", k=1_000).json()["hits"]) == 3


def test_vectors_of_the_client_are_found_by_direction_alone(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    put(gateway, [{"id": "x", "vector": [5, 0]}, {"id": "y", "vector": [0, 0.1], "text": "up"}], "own")
    build(gateway, "own", fingerprint=None)
    hits = ask(gateway, "own", vector=[1, 100]).json()["hits"]
    assert [hit["id"] for hit in hits] == ["y", "x"] and hits[0]["score"] == pytest.approx(1.0, abs=1e-3)
    problem(ask(gateway, "own", query="up"), 400, "no_model")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_value"),
        ({"query": "a", "vector": [1] * DIMENSIONS}, "invalid_value"),
        ({"query": ""}, "empty_text"),
        ({"query": "x" * 32_769}, "text_too_long"),
        ({"query": "a", "k": 0}, "invalid_value"),
        ({"query": "a", "k": 1_001}, "invalid_value"),
        ({"vector": [1.0, 2.0]}, "index_mismatch"),
        ({"vector": [0] * DIMENSIONS}, "invalid_value"),
        ({"query": "a", "id": "b"}, "invalid_value"),
        ({"query": "a", "offset": 991}, "invalid_value"),
        ({"query": "a", "offset": -1}, "invalid_value"),
        ({"query": "a", "exact": 1}, "invalid_value"),
        ({"query": "a", "score_threshold": 1.5}, "invalid_value"),
        ({"queries": []}, "invalid_value"),
        ({"queries": [{"query": "a"}] * 257}, "invalid_value"),
        ({"queries": [{"query": "a"}], "k": 3}, "invalid_value"),
        ({"queries": [{"queries": [{"query": "a"}]}]}, "invalid_value"),
        ({"queries": [{"query": "a", "kk": 3}]}, "unknown_field"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(gateway: Gateway, body: dict[str, Any], code: str) -> None:
    make(gateway)
    problem(ask(gateway, **body), 422, code)


def test_a_vector_of_another_dimension_is_refused_with_both_numbers(gateway: Gateway) -> None:
    make(gateway)
    detail = problem(ask(gateway, vector=[1.0, 2.0]), 422, "index_mismatch")["detail"]
    assert "2 dimensions" in detail and detail.endswith(f" has {DIMENSIONS}")


def test_a_base_model_that_changed_since_the_index_was_built_is_not_mixed_with_it(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    build(gateway, fingerprint="older words")
    assert "is not what it was" in problem(ask(gateway, query="dog"), 422, "index_mismatch")["detail"]


def test_a_damaged_index_is_reported_and_others_go_on(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    version = build(gateway)
    folder = gateway.parts.artifacts.collection_version_path(version.collection_id, version.folder)
    damaged = bytearray((folder / INDEX_FILE).read_bytes())
    damaged[-1] ^= 1
    (folder / INDEX_FILE).write_bytes(damaged)
    for _ in range(2):
        answer = ask(gateway, query="dog")
        assert "orders a new index" in problem(answer, 503, "artifact_corrupt")["detail"]
        assert answer.headers["x-should-retry"] == "false"
    make(gateway, name="other")
    assert ask(gateway, "other", query="dog").status_code == 200
    put(gateway, [{"id": "d", "text": "wolves howl"}])
    [job] = [job for job in gateway.http.get("/v1/jobs").json()["data"] if job["status"] == "queued"]
    assert work_off_index(gateway.parts).id == job["id"]
    body = ask(gateway, query="wolves howl").json()
    assert (len(body["hits"]), body["hits"][0]["id"], body["version"]) == (4, "d", version.id)
    assert [job["status"] for job in gateway.http.get("/v1/jobs").json()["data"]] == ["succeeded"] * 2


def test_an_index_that_is_renewed_while_it_is_opened_is_opened_anew(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(gateway)
    put(gateway, PETS)
    version = build(gateway)
    opened: list[str] = []
    load = Main.load

    def renewing(folder: Path, **said: bool) -> Main:
        opened.append(folder.name)
        found = load(folder, **said)
        if len(opened) == 1:  # an index job ends, and what its index holds is no longer told beside it
            with gateway.parts.database.write() as tx:
                assert versions.renew(tx, version.id, built=renewed)
                versions.forget_changes(tx, version.collection_id)
        return found

    put(gateway, [{"id": "d", "text": "fish swim"}])
    renewed = indexed(gateway)
    monkeypatch.setattr(Main, "load", renewing)
    hits = ask(gateway, query="fish swim").json()["hits"]
    assert hits[0]["id"] == "d" and len(hits) == 4
    assert opened == [version.folder, renewed.folder]


def test_an_index_that_vanishes_goes_on_answering_and_the_next_one_takes_over(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    version = build(gateway)
    before = ask(gateway, query="dog").json()
    gateway.parts.artifacts.discard(
        gateway.parts.artifacts.collection_version_path(version.collection_id, version.folder)
    )
    assert ask(gateway, query="dog").json() == before
    put(gateway, [{"id": "d", "text": "a dog sleeps"}])
    newer = build(gateway)
    after = ask(gateway, query="dog").json()
    assert (after["version"], len(after["hits"])) == (newer.id, 4)


@pytest.mark.parametrize(
    ("row", "pointer", "code"),
    [
        ({"id": "z"}, "/documents/1/text", "missing_field"),
        ({"id": "z", "text": ""}, "/documents/1/text", "empty_text"),
        ({"id": "z", "text": "x" * 262_145}, "/documents/1/text", "text_too_long"),
        ({"id": "", "text": "a"}, "/documents/1/id", "invalid_value"),
        ({"id": 5, "text": "a"}, "/documents/1/id", "invalid_value"),
        ({"id": "z", "text": "a\0"}, "/documents/1/text", "invalid_text"),
        ({"id": "z", "vector": [1.0]}, "/documents/1/vector", "index_mismatch"),
        ({"id": "z", "txt": "a"}, "/documents/1/txt", "unknown_field"),
        ({"id": "a", "text": "again"}, None, "duplicate_id"),
    ],
)
def test_one_broken_document_keeps_all_of_its_call_out(
    gateway: Gateway, row: dict[str, Any], pointer: str | None, code: str
) -> None:
    make(gateway)
    body = problem(put(gateway, [PETS[0], row]), 422, code)
    assert pointer is None or body["errors"][0]["pointer"] == pointer
    assert gateway.http.get("/v1/collections/pets").json()["count"] == 0
    assert gateway.http.get("/v1/jobs").json()["data"] == []


def test_a_stream_of_lines_is_stored_and_the_last_of_equal_ids_counts(gateway: Gateway) -> None:
    make(gateway)
    rows = [{"id": f"d{n % 1_500}", "text": f"text {n}"} for n in range(2_000)]
    sent = (lines(rows[start : start + 100]) for start in range(0, len(rows), 100))
    answer = gateway.http.post("/v1/collections/pets/documents", content=sent, headers=NDJSON)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["pending"]) == (202, 1_500, 1_500)
    build(gateway)
    hits = ask(gateway, query="text 1999", k=1).json()["hits"]
    assert (hits[0]["id"], hits[0]["text"]) == ("d499", "text 1999")
    assert not [name for name in gateway.artifacts() if name.startswith("tmp/")]


@pytest.mark.parametrize("broken", [b"no json\n", b'{"id": "z"}\n', b'{"id": "z", "text": "a", "vector": [1]}\n'])
def test_a_broken_line_keeps_the_whole_stream_out(gateway: Gateway, broken: bytes) -> None:
    make(gateway)
    content = lines(PETS) + broken
    answer = gateway.http.post("/v1/collections/pets/documents", content=content, headers=NDJSON)
    assert problem(answer, 422, "dataset_invalid")["errors"][0]["line"] == 4
    assert gateway.http.get("/v1/collections/pets").json()["count"] == 0 and gateway.artifacts() == []


def test_an_empty_stream_is_refused(gateway: Gateway) -> None:
    make(gateway)
    answer = gateway.http.post("/v1/collections/pets/documents", content=b"\n", headers=NDJSON)
    assert problem(answer, 422, "dataset_invalid")["errors"][0]["code"] == "empty_dataset"


@pytest.mark.parametrize("name", ["nobody", "UPPER", "col-x", "%00", "a" * 80, "col-" + "0" * 26])
def test_an_unknown_collection_is_not_found(gateway: Gateway, name: str) -> None:
    problem(gateway.http.get(f"/v1/collections/{name}"), 404, "not_found")
    problem(put(gateway, PETS, name), 404, "not_found")
    problem(ask(gateway, name, query="dog"), 404, "not_found")
