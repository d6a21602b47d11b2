"""What is written while an index is made is found, and what is deleted is not, by whoever had which state open."""

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from infonce.config import Side
from infonce.live_index import Main
from service.live_indexes import LiveIndexes
from service.store import catalog, documents, jobs
from service.store.changes import Embedded
from service.store.documents import NewDocument
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import BASE, Gateway, WordEncoder
from tests.service.test_collections import PETS, ask, build, make, put
from tests.service.test_versions import OTHER, ask_for, promote
from tests.service.workshop import Bench, index_by_words, work_off_index


@pytest.fixture
def both(serve: Callable[..., Gateway]) -> tuple[Gateway, Gateway]:
    return two_of(serve)


def two_of(serve: Callable[..., Gateway]) -> tuple[Gateway, Gateway]:
    """Two gateways of one database, which has a collection and two models of different weights."""
    first, second = serve(), serve()
    root = first.parts.settings.hub.models_root
    assert root is not None
    shutil.copytree(root / BASE, root / OTHER)
    make(first)
    return first, second


def delete(gateway: Gateway, *ids: str) -> None:
    assert gateway.http.delete("/v1/collections/pets/documents", params={"id": ids}).is_success


def compact(gateway: Gateway) -> None:
    """A job waits that makes the index of the version that answers anew, as after many writes."""
    with gateway.parts.database.write() as tx:
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
        jobs.order_index(tx, collection, now=gateway.parts.clock())


def nearest(gateway: Gateway, text: str) -> Any:
    """The one nearest document, and what is pending."""
    body = ask(gateway, query=text, k=1).json()
    return [hit["id"] for hit in body["hits"]], body["pending"]


def test_a_version_beside_a_collection_that_has_none_takes_nothing_from_it(both: tuple[Gateway, Gateway]) -> None:
    gateway, other = both
    put(gateway, PETS)
    assert nearest(gateway, "birds sing") == (["c"], 0)
    version = ask_for(gateway).json()["id"]
    work_off_index(gateway.parts)
    delete(gateway, "c")
    later = ask_for(gateway).json()["id"]
    work_off_index(gateway.parts)
    for one in both:
        body = ask(one, query="the dog barks", k=5).json()
        assert (body["hits"][0]["id"], len(body["hits"]), body["pending"]) == ("a", 2, 0)
        [found], pending = nearest(one, "birds sing")
        assert found in ("a", "b") and pending == 0  # what is gone takes nobody's place
    put(other, [{"id": "d", "text": "wolves howl"}])
    for id in (version, later):
        assert promote(gateway, id).status_code == 200
        for one in both:
            assert nearest(one, "wolves howl") == (["d"], 0)
            assert {hit["id"] for hit in ask(one, query="cat", k=9).json()["hits"]} == {"a", "b", "d"}


def test_what_is_deleted_while_a_version_is_built_is_not_in_it_whatever_ends_meanwhile(
    both: tuple[Gateway, Gateway],
) -> None:
    gateway, _ = both
    put(gateway, PETS)
    build(gateway)
    version = ask_for(gateway).json()["id"]
    building = Bench.claim(gateway.parts, "light")
    delete(gateway, "a")
    compact(gateway)
    work_off_index(gateway.parts)
    assert building.commit(index_by_words(building))
    assert promote(gateway, version).status_code == 200
    for one in both:
        [found], pending = nearest(one, "the dog barks")
        assert found in ("b", "c") and pending == 0
        assert one.http.post("/v1/collections/pets/count", json={}).json()["count"] == 2


def test_the_first_index_that_ends_while_a_gateway_reads_the_changes_is_opened(
    both: tuple[Gateway, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, _ = both
    put(gateway, PETS)
    compact(gateway)
    empty, opened = Main.empty, list[int]()

    def meanwhile(dimension: int) -> Main:
        opened.append(dimension)
        if len(opened) == 1:
            work_off_index(gateway.parts)
        return empty(dimension)

    monkeypatch.setattr(Main, "empty", meanwhile)
    assert nearest(gateway, "birds sing") == (["c"], 0)
    assert len(opened) == 1


def test_vectors_of_two_encoders_are_never_searched_together_before_there_is_a_version(gateway: Gateway) -> None:
    make(gateway)
    parts = gateway.parts
    open_all_along = LiveIndexes(parts.database, parts.artifacts)
    for number, weights in enumerate(("words", "replaced")):  # the folder of the base model has other weights by now
        text = f"text {number}"
        vector = WordEncoder(weights=weights).encode([text], side=Side.DOCUMENT)[0].astype("<f4")
        embedded = Embedded(fingerprint=weights, vectors={text: vector.tobytes()})
        with parts.database.write() as tx:
            collection = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
            documents.upsert(tx, collection, documents=[NewDocument(id=text, text=text)], embedded=embedded)
        for indexes in (open_all_along, LiveIndexes(parts.database, parts.artifacts)):
            served = indexes.current(DEFAULT_PROJECT, "pets")
            [hits] = served.live.search(np.asarray(vector)[None], 5)
            assert (hits.ids, served.fingerprint, served.pending) == ((text,), weights, number)
