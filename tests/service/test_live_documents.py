"""What was written since an index was made is searched beside it."""

from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from infonce.config import Side
from service.live_indexes import LiveIndexes
from service.recall import RecallWatch
from service.schemas.collections import CollectionQuery, QueryAnswer
from service.search import Search
from service.store import catalog, documents, versions
from service.store.changes import Embedded
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import BASE, DIMENSIONS, Gateway, WordEncoder, lines, problem
from tests.service.test_collections import MANY, NDJSON, PETS, ask, build, make, put


def test_a_query_before_the_first_version_finds_what_is_embedded_and_says_what_is_pending(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, MANY)
    body = ask(gateway, query="dog").json()
    assert (body["hits"], body["version"], body["pending"], body["model"]) == ([], None, 257, BASE)
    answer = put(gateway, PETS)
    assert (answer.status_code, answer.json()["pending"]) == (200, 257)  # the others still wait
    body = ask(gateway, query="the dog barks").json()
    assert (body["hits"][0]["id"], len(body["hits"]), body["version"]) == ("a", 3, None)


def test_what_was_written_is_found_at_once_beside_the_index_and_by_another_gateway(gateway: Gateway) -> None:
    make(gateway)
    assert put(gateway, PETS).status_code == 200
    version = build(gateway)
    answer = put(gateway, [{"id": "d", "text": "wolves howl"}, {"id": "a", "text": "nothing of the kind"}])
    assert (answer.status_code, answer.json()["job"], answer.json()["pending"]) == (200, None, 0)
    body = ask(gateway, query="wolves howl").json()
    assert (body["hits"][0]["id"], len(body["hits"]), body["version"]) == ("d", 4, version.id)
    asked = CollectionQuery(query="wolves howl")
    other = another(gateway)
    assert other.query(DEFAULT_PROJECT, "pets", asked=asked).answer.model_dump(mode="json") == body
    put(gateway, [{"id": "e", "text": "wolves howl"}, {"id": "d", "text": "nothing of the kind"}])
    found = [
        other.query(DEFAULT_PROJECT, "pets", asked=asked),
        gateway.parts.search.query(DEFAULT_PROJECT, "pets", asked=asked),
    ]
    assert [one.answer.hits[0].id for one in found if isinstance(one.answer, QueryAnswer)] == ["e", "e"]
    assert build(gateway).id != version.id
    assert ask(gateway, query="wolves howl").json()["hits"][0]["id"] == "e"


def test_so_many_changes_beside_an_index_order_a_new_one(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    rows = [{"id": f"d{n}", "vector": [n + 1.0, 1.0]} for n in range(1_001)]
    assert put(gateway, rows[:1_000], "own").json()["job"] is None and gateway.http.get("/v1/jobs").json()["data"] == []
    assert put(gateway, rows[1_000:], "own").json()["job"] is None  # nothing waits for it
    assert [job["kind"] for job in gateway.http.get("/v1/jobs").json()["data"]] == ["index"]
    assert build(gateway, "own", fingerprint=None).count == 1_001


def test_more_than_256_texts_are_stored_and_wait_for_one_index_job(
    gateway: Gateway, until: Callable[..., None]
) -> None:
    make(gateway)
    first = put(gateway, MANY)
    second = put(gateway, [row | {"id": f"more {row['id']}"} for row in MANY])
    assert (first.status_code, first.json()["accepted"], first.json()["pending"]) == (202, 257, 257)
    assert (second.json()["job"], second.json()["pending"]) == (first.json()["job"], 514)
    job = gateway.http.get(f"/v1/jobs/{first.json()['job']}").json()
    assert (job["kind"], job["status"]) == ("index", "queued")
    assert job["subject"] == gateway.http.get("/v1/collections/pets").json()["id"]
    until(lambda: (job["id"], "light") in gateway.bell.rung)


def test_a_document_that_was_rewritten_and_waits_is_not_found_by_what_it_was(gateway: Gateway) -> None:
    make(gateway)
    rows = [{"id": f"d{n}", "text": f"text {n}", "metadata": {"lang": "en"}} for n in range(257)]
    put(gateway, rows)
    build(gateway)
    lang = {"type": "eq", "key": "lang"}
    assert len(ask(gateway, query="text 3", k=300, filter=lang | {"value": "en"}).json()["hits"]) == 257
    ask(gateway, query="text", hybrid={})
    rewritten = [{"id": f"d{n}", "text": f"wort {n}", "metadata": {"lang": "de"}} for n in range(257)]
    answer = put(gateway, [*rewritten[:3], *({**row, "id": f"new {row['id']}"} for row in rewritten)])
    assert (answer.status_code, answer.json()["pending"]) == (202, 260)
    for asked in ({"query": "text 1"}, {"query": "text 1", "hybrid": {}}, {"query": "wort 1"}):
        body = ask(gateway, **asked, k=300, filter=lang | {"value": "en"}).json()
        assert {hit["id"] for hit in body["hits"]} == {f"d{n}" for n in range(3, 257)} and body["pending"] == 260
        assert all(hit["metadata"] == {"lang": "en"} and hit["text"].startswith("text") for hit in body["hits"])
        assert ask(gateway, **asked, filter=lang | {"value": "de"}).json()["hits"] == []
    problem(ask(gateway, id="d1"), 404, "not_found")
    build(gateway)
    body = ask(gateway, query="wort 1", k=300, filter=lang | {"value": "de"}).json()
    assert (len(body["hits"]), body["pending"], body["hits"][0]["text"][:4]) == (260, 0, "wort")


def unit(seed: int) -> list[float]:
    drawn = np.random.default_rng(seed).normal(size=DIMENSIONS)
    found: list[float] = (drawn / np.linalg.norm(drawn)).tolist()
    return found


def stream(gateway: Gateway, rows: list[dict[str, object]]) -> Any:
    return gateway.http.post("/v1/collections/pets/documents", content=lines(rows), headers=NDJSON)


VECTORS = [{"id": f"v{n}", "vector": unit(n)} for n in range(2_100)]


def test_a_stream_of_vectors_with_few_texts_can_be_found_when_it_is_answered(gateway: Gateway) -> None:
    make(gateway)
    answer = stream(gateway, [PETS[0], *VECTORS[:1_500], PETS[1], *VECTORS[1_500:], PETS[2]])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["pending"]) == (200, 2_103, 0)
    assert answer.json()["job"] is None
    for pet in PETS:
        body = ask(gateway, query=pet["text"], k=1).json()
        assert (body["hits"][0]["id"], body["pending"]) == (pet["id"], 0)


def test_of_a_stream_the_last_text_of_an_id_counts_and_is_the_one_that_is_embedded(gateway: Gateway) -> None:
    make(gateway)
    first = [{"id": "a", "text": "wolves howl"}, {"id": "v", "text": "soon a vector"}, {"id": "v0", "text": "gone"}]
    answer = stream(gateway, [*first, *VECTORS, *PETS, {"id": "v", "vector": unit(7)}, {"id": "v0", "text": "came"}])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["pending"]) == (200, 2_104, 0)
    assert ask(gateway, query="the dog barks", k=1).json()["hits"][0]["id"] == "a"
    assert ask(gateway, query="came", k=1).json()["hits"][0] == {
        "id": "v0",
        "text": "came",
        "metadata": {},
        "score": ANY,
    }
    [listed] = gateway.http.get("/v1/collections/pets/documents", params={"id": "v"}).json()["data"]
    assert (listed["text"], listed["has_vector"]) == (None, True)


@pytest.mark.parametrize("num", [2, 300])
def test_lines_of_one_id_are_one_document(gateway: Gateway, num: int) -> None:
    make(gateway)
    answer = stream(gateway, [{"id": "a", "text": f"text {n}"} for n in range(num)])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["pending"]) == (200, 1, 0)
    assert ask(gateway, query="a").json()["hits"][0]["text"] == f"text {num - 1}"


def test_more_than_256_texts_of_a_stream_wait_for_a_job_and_its_vectors_do_not(gateway: Gateway) -> None:
    make(gateway)
    answer = stream(gateway, [*VECTORS[:1_200], *MANY])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["pending"]) == (202, 1_457, 257)
    assert answer.json()["job"] is not None
    assert ask(gateway, vector=unit(3), k=1).json()["hits"][0]["id"] == "v3"


def test_vectors_of_a_job_that_still_runs_are_found_by_every_gateway_and_once(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    build(gateway)
    assert put(gateway, MANY).json()["pending"] == 257
    asked, other = CollectionQuery(query=MANY[0]["text"], k=1_000), another(gateway)
    assert [len(hits(one, asked)) for one in (gateway.parts.search, other)] == [3, 3]
    assert tell(gateway, [row["id"] for row in MANY[:100]]) == 100
    assert ask(gateway, query="dog").json()["pending"] == 157
    put(gateway, [MANY[0] | {"text": "nothing of the kind"}])  # and what is written again is as it was written last
    assert tell(gateway, [row["id"] for row in MANY[:100]]) == 0
    for one in (gateway.parts.search, other):
        found = hits(one, asked)
        assert sorted(found) == sorted(row["id"] for row in [*PETS, *MANY[:100]]) and found[0] != MANY[0]["id"]
    body = ask(gateway, query="dog").json()
    assert (body["pending"], gateway.http.get("/v1/collections/pets").json()["pending"]) == (157, 157)
    build(gateway)
    assert [len(hits(one, asked)) for one in (gateway.parts.search, other)] == [260, 260]


def another(gateway: Gateway, *, recall: RecallWatch | None = None, num_threads: int = 1) -> Search:
    """What a second gateway over the same store answers by."""
    parts = gateway.parts
    return Search(
        parts.database,
        LiveIndexes(parts.database, parts.artifacts),
        lookup=parts.lookup,
        embedder=parts.embedder,
        recall=recall or RecallWatch(lambda _kind, _recall: None),
        num_threads=num_threads,
    )


def hits(search: Search, asked: CollectionQuery) -> list[str]:
    answer = search.query(DEFAULT_PROJECT, "pets", asked=asked).answer
    assert isinstance(answer, QueryAnswer)
    return [hit.id for hit in answer.hits]


def tell(gateway: Gateway, ids: list[str]) -> int:
    """How many of these documents can be found by the vectors that a job has made of their texts."""
    with gateway.parts.database.write() as tx:
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
        there = documents.by_ids(tx, collection.id, ids=ids)
        made = WordEncoder().encode([str(there[id].text) for id in ids], side=Side.DOCUMENT)
        embedded = Embedded(fingerprint="words", vectors={id: row.tobytes() for id, row in zip(ids, made, strict=True)})
        made_of = {id: there[id].sequence for id in ids}
        return versions.keep_early_vectors(tx, collection.id, model=BASE, embedded=embedded, made_of=made_of)
