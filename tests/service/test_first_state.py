"""What a collection answered by before it had a version can be returned to, with all that was written since."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from service.store import catalog, changes, deployments, jobs, versions
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import BASE, Gateway, problem
from tests.service.test_brought import both, foreign, own, version_of
from tests.service.test_collections import MANY, PETS, ask, build, put
from tests.service.test_versions import OTHER, promote, roll_back
from tests.service.test_versions_under_way import compact, delete, nearest
from tests.service.workshop import work_off_index

__all__ = ["both"]  # a fixture


def found(gateway: Gateway, **asked: Any) -> set[str]:
    body = ask(gateway, **(asked or {"query": "a dog sings"}), k=1_000).json()
    assert body["pending"] == 0
    return {hit["id"] for hit in body["hits"]}


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = gateway.http.get("/v1/collections/pets/versions").json()["data"]
    return data


def test_a_collection_returns_to_what_it_answered_by_before_its_first_version(
    both: tuple[Gateway, Gateway], serve: Callable[..., Gateway]
) -> None:
    gateway, other = both
    put(gateway, PETS)
    problem(roll_back(gateway), 409, "not_ready")
    second = version_of(gateway, OTHER)
    first = promote(gateway, second).json()["previous_version"]
    told = {one["id"]: one for one in listed(gateway)}
    assert list(told) == [second, first]
    assert (told[first]["model"], told[first]["status"], told[first]["count"], told[first]["job"]) == (
        *(BASE, "ready", 0, None),
    )
    put(other, [{"id": "late", "text": "wolves howl"}, {"id": "a", "text": "the dog barks again"}])
    delete(gateway, "b")
    for one in both:
        assert nearest(one, "wolves howl") == (["late"], 0)
    back = roll_back(gateway).json()
    assert (back["active_version"], back["previous_version"], back["model"]) == (first, second, BASE)
    for one in (*both, serve()):
        body = ask(one, query="wolves howl", k=9).json()
        assert (body["version"], body["model"], body["pending"]) == (first, BASE, 0)
        assert {hit["id"] for hit in body["hits"]} == {"a", "c", "late"}
        assert (body["hits"][0]["id"], body["hits"][0]["score"]) == ("late", pytest.approx(1.0, abs=1e-5))
        assert nearest(one, "the dog barks again") == (["a"], 0)
        assert found(one, query="wolves", hybrid={}) == {"a", "c", "late"}
    asked = {"queries": ["wolves howl"], "a": first, "b": second}
    compared = other.http.post("/v1/collections/pets/compare", json=asked).json()
    assert (compared["pending_a"], compared["pending_b"]) == (0, 0)
    assert roll_back(other).json()["active_version"] == second
    assert found(gateway) == {"a", "c", "late"}


def test_a_walk_of_writes_moves_and_indexes_is_found_as_a_dictionary_has_it(both: tuple[Gateway, Gateway]) -> None:
    draw, texts = random.Random(3), {one["id"]: one["text"] for one in PETS}
    put(both[0], PETS)
    promote(both[0], version_of(both[0], OTHER))
    for number in range(40):
        one, other = draw.sample(both, 2)
        step = draw.choice(["write", "write", "delete", "move", "index"])
        if step == "write":
            new = {f"d{draw.randrange(9)}": f"text number{number}", "a": f"a dog{number} barks"}
            texts |= new
            put(one, [{"id": id, "text": text} for id, text in new.items()])
        elif step == "delete":
            gone = draw.choice([*texts, "nobody"])
            texts.pop(gone, None)
            delete(one, gone)
        elif step == "move":
            assert roll_back(one).is_success
        else:
            compact(one)
            work_off_index(one.parts)
        for gateway in (other, one):
            hits = ask(gateway, query="a dog", k=1_000).json()["hits"]
            assert {hit["id"]: hit["text"] for hit in hits} == texts
            wanted = draw.choice([*texts])
            [best] = ask(gateway, query=texts[wanted], k=1).json()["hits"]
            assert (best["id"], best["score"]) == (wanted, pytest.approx(1.0, abs=1e-5))  # by its vector as it is now


def test_what_it_lacks_of_many_later_texts_a_job_takes_in_first(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, PETS)
    first = promote(gateway, version_of(gateway, OTHER)).json()["previous_version"]
    put(gateway, MANY)
    work_off_index(gateway.parts)
    assert "lacks more than 256" in problem(roll_back(gateway), 409, "not_ready")["detail"]
    work_off_index(gateway.parts)
    assert roll_back(gateway).json()["active_version"] == first
    assert len(found(gateway)) == 260
    assert {one["id"]: one["count"] for one in listed(gateway)}[first] == 260


def test_a_model_that_had_embedded_nothing_embeds_what_came_since(both: tuple[Gateway, Gateway]) -> None:
    gateway, other = both
    put(gateway, own("x", "y"))
    assert found(other) == {"x", "y"}
    promote(gateway, version_of(gateway, OTHER))
    put(gateway, [{"id": "text", "text": "wolves howl"}, *own("z")])
    back = roll_back(gateway).json()
    assert (back["model"], back["pending"], back["warnings"]) == (BASE, 0, foreign(1, BASE))
    for one in both:
        assert nearest(one, "wolves howl") == (["text"], 0)
        assert found(one) == {"text", "x", "y", "z"}
    put(other, [{"id": "new", "text": "fish swim"}])
    assert nearest(gateway, "fish swim") == (["new"], 0)
    assert roll_back(gateway).json()["warnings"] == foreign(2, OTHER)
    assert found(other) == {"text", "x", "y", "z", "new"}


def test_a_deployment_can_be_taken_back_too(both: tuple[Gateway, Gateway]) -> None:
    gateway, other = both
    put(gateway, PETS)
    parts = gateway.parts
    with parts.database.write() as tx:
        collection = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
        jobs.insert(tx, deployments.deployment_job(collection, model=OTHER, corpus_file=None, now=parts.clock()))
    work_off_index(parts)
    assert ask(other, query="dog").json()["model"] == OTHER
    assert roll_back(other).json()["model"] == BASE
    assert [nearest(one, "birds sing") for one in both] == [(["c"], 0)] * 2


def test_it_goes_with_the_move_after_the_next_and_its_vectors_with_it(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, PETS)
    second = version_of(gateway, OTHER)
    moved = promote(gateway, second).json()
    delete(gateway, "a")
    for _ in range(2):  # an index is made, and one that holds all makes the old one's vectors beside it superfluous
        compact(gateway)
        work_off_index(gateway.parts)
        with gateway.parts.database.read() as tx:
            known = changes.vectors_of(tx, moved["id"], fingerprint="words")
            assert (set(known), changes.count_since(tx, moved["id"], after=0)) == ({"b", "c"}, 3)
    third = version_of(gateway, BASE)
    promote(gateway, third)
    assert {one["id"] for one in listed(gateway)} == {second, third}
    with gateway.parts.database.write() as tx:
        versions.forget_changes(tx, moved["id"])
        assert changes.vectors_of(tx, moved["id"], fingerprint="words") == {}
    assert found(gateway) == {"b", "c"} and roll_back(gateway).json()["active_version"] == second


def test_the_first_index_by_the_same_model_leaves_nothing_to_return_to(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, PETS)
    build(gateway)
    assert gateway.http.get("/v1/collections/pets").json()["previous_version"] is None
    assert len(listed(gateway)) == 1
