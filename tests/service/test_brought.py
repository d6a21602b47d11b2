"""A collection says how many vectors its clients brought, and warns where they came for another model than answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from infonce.collection_file import DOCUMENTS, MANIFEST
from service.client import Client
from service.schemas.collections import CollectionCreate
from tests.service.conftest import BASE, DIMENSIONS, Gateway, Live, problem
from tests.service.test_collection_files import bring, changed, exported, parts_of
from tests.service.test_collections import PETS, ask, build, make, put
from tests.service.test_versions import OTHER, ask_for, promote, roll_back
from tests.service.test_versions_under_way import two_of
from tests.service.workshop import work_off_index

AXES = [[float(place == axis) for place in range(DIMENSIONS)] for axis in range(DIMENSIONS)]


def own(*ids: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": id, "vector": AXES[place], **more} for place, id in enumerate(ids)]


def told(gateway: Gateway, name: str = "pets") -> tuple[int, list[str]]:
    """How many brought vectors a collection has, and its warnings; lists say the same, and so does every answer."""
    one = gateway.http.get(f"/v1/collections/{name}").json()
    assert one in gateway.http.get("/v1/collections").json()["data"]
    assert ask(gateway, name, vector=AXES[0]).json()["warnings"] == one["warnings"]
    return one["brought"], one["warnings"]


def foreign(num: int, model: str) -> list[str]:
    """What is said of so many."""
    if num == 1:
        text = f"1 document brought a vector of its own while another model answered, which the model {model} cannot "
        return [f"{text}make anew: it is compared as it is; send it again as a text or with a vector of this model"]
    text = f"{num} documents brought vectors of their own while another model answered, which the model {model} cannot "
    text += "make anew: they are compared as they are; send them again as texts or with vectors of this model"
    return [text] if num else []


@pytest.fixture
def both(serve: Callable[..., Gateway]) -> tuple[Gateway, Gateway]:
    return two_of(serve)


def version_of(gateway: Gateway, model: str) -> str:
    """The id of a version that is built."""
    id = str(ask_for(gateway, model).json()["id"])
    work_off_index(gateway.parts)
    return id


def test_vectors_are_counted_as_they_come_and_go(gateway: Gateway) -> None:
    make(gateway)
    assert told(gateway) == (0, [])
    put(gateway, [*PETS, *own("x", "y", "z", text="a text beside it")])
    assert told(gateway) == (3, [])
    put(gateway, [{"id": "x", "text": "a text now"}, *own("a", "y")])
    assert told(gateway) == (3, [])
    gateway.http.delete("/v1/collections/pets/documents", params={"id": ["y", "b", "nobody"]})
    assert told(gateway) == (2, [])
    rows = "\n".join(json.dumps(one) for one in own("z", "l1", "l2", "l1"))
    headers = {"content-type": "application/x-ndjson"}
    assert gateway.http.post("/v1/collections/pets/documents", content=rows, headers=headers).is_success
    assert told(gateway) == (4, [])


def test_a_collection_without_a_model_counts_and_has_nothing_to_warn_of(gateway: Gateway) -> None:
    make(gateway, model=None, dimension=DIMENSIONS)
    put(gateway, own("x", "y"))
    assert told(gateway) == (2, [])
    build(gateway, fingerprint=None)
    put(gateway, own("z"))
    assert told(gateway) == (3, [])


@pytest.mark.parametrize("texts", [PETS, []], ids=["with texts", "vectors alone"])
def test_vectors_that_came_for_another_model_are_warned_of_until_they_come_anew(
    both: tuple[Gateway, Gateway], texts: list[dict[str, Any]]
) -> None:
    gateway, other = both
    put(gateway, [*texts, *own("x", "y", "z")])
    assert [told(one) for one in both] == [(3, [])] * 2
    second = version_of(gateway, OTHER)
    assert gateway.http.get(f"/v1/collections/pets/versions/{second}").json()["warnings"] == foreign(3, OTHER)
    assert [told(one) for one in both] == [(3, [])] * 2
    moved = promote(gateway, second).json()
    assert (moved["brought"], moved["warnings"]) == (3, foreign(3, OTHER))
    put(gateway, own("new"))
    assert [told(one) for one in both] == [(4, foreign(3, OTHER))] * 2
    put(other, [{"id": "x", "text": "the dog barks"}, *own("y")])
    assert [told(one) for one in both] == [(3, foreign(1, OTHER))] * 2
    other.http.delete("/v1/collections/pets/documents", params={"id": ["z"]})
    assert [told(one) for one in both] == [(2, [])] * 2


def test_after_a_rollback_what_came_for_the_other_model_is_warned_of(both: tuple[Gateway, Gateway]) -> None:
    gateway, other = both
    put(gateway, [*PETS, *own("x", "y")])
    first, second = build(gateway).id, version_of(gateway, OTHER)
    promote(gateway, second)
    put(gateway, own("new"))
    back = roll_back(gateway).json()
    assert (back["active_version"], back["brought"], back["warnings"]) == (first, 3, foreign(1, BASE))
    assert [told(one) for one in both] == [(3, foreign(1, BASE))] * 2
    listed = gateway.http.get("/v1/collections/pets/versions").json()["data"]
    assert {one["id"]: one["warnings"] for one in listed} == {second: foreign(2, OTHER), first: foreign(1, BASE)}
    compared = {"queries": ["the dog"], "a": first, "b": second}
    answer = other.http.post("/v1/collections/pets/compare", json=compared).json()
    assert answer["warnings"] == [*foreign(1, BASE), *foreign(2, OTHER)]
    assert roll_back(gateway).json()["warnings"] == foreign(2, OTHER)


def test_another_version_by_the_same_model_warns_of_nothing(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, own("x", "y"))
    assert promote(gateway, version_of(gateway, BASE)).json()["warnings"] == []
    put(gateway, PETS)
    assert promote(gateway, version_of(gateway, BASE)).json()["warnings"] == []
    assert told(gateway) == (2, [])


def test_each_of_several_queries_is_warned_beside_what_is_wrong_with_itself(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, [*PETS, *own("x")])
    promote(gateway, version_of(gateway, OTHER))
    filter = {"type": "eq", "key": "nobody", "value": 1}
    results = ask(gateway, queries=[{"query": "dog"}, {"id": "x"}, {"query": "dog", "filter": filter}]).json()[
        "results"
    ]
    unknown = "no searchable document has the metadata key 'nobody'"
    assert [one["warnings"] for one in results] == [foreign(1, OTHER), foreign(1, OTHER), [*foreign(1, OTHER), unknown]]


def test_a_file_of_a_collection_tells_for_which_models_its_vectors_came(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, [*PETS, *own("x", "y")])
    promote(gateway, version_of(gateway, OTHER))
    put(gateway, own("new"))
    before = told(gateway)
    assert before == (3, foreign(2, OTHER))
    file = exported(gateway)
    expected = [
        {"row": 3, "model": BASE, "fingerprint": "words"},
        {"row": 5, "model": OTHER, "fingerprint": f"words of {OTHER}"},
    ]
    assert json.loads(parts_of(file)[MANIFEST])["brought_for"] == expected
    made = bring(gateway, file, name="copy").json()
    assert (made["brought"], made["warnings"]) == before == told(gateway, "copy")
    put(gateway, own("newer"), "copy")
    assert told(gateway, "copy") == (4, foreign(2, OTHER))
    back = bring(gateway, file, name="back", model=BASE).json()
    assert (back["brought"], back["warnings"]) == (3, foreign(1, BASE))
    untold = changed(file, said=lambda manifest: manifest.pop("brought_for"))
    assert bring(gateway, untold, name="untold").json()["warnings"] == []
    assert bring(gateway, untold, name="moved", model=BASE).json()["warnings"] == foreign(3, BASE)


def test_what_a_file_says_of_its_vectors_is_in_the_order_of_its_documents(both: tuple[Gateway, Gateway]) -> None:
    gateway, _ = both
    put(gateway, own("x", "y"))
    file = exported(gateway)
    assert len(parts_of(file)[DOCUMENTS].splitlines()) == 2

    def said(*rows: int) -> bytes:
        facts = [{"row": row, "model": OTHER, "fingerprint": None} for row in rows]
        return changed(file, said=lambda manifest: manifest.update(brought_for=facts))

    for rows in ((1, 1), (1, 0), (-1,)):
        problem(bring(gateway, said(*rows), name="copy"), 422, "invalid_value")
    assert bring(gateway, said(1, 2, 9), name="copy").json()["warnings"] == foreign(1, BASE)


def test_the_client_reads_what_is_told(live: Live) -> None:
    with Client(live.url, api_key=live.key) as client:
        client.create_collection(CollectionCreate(name="pets", model=BASE))
        client.add_documents("pets", [*PETS, *own("x")])
        made = client.collection("pets")
        assert (made.brought, made.warnings, client.query("pets", "dog").warnings) == (1, [], [])
