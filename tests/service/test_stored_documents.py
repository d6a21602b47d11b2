"""Documents are read back, counted and deleted, and what is gone is found no more."""

from typing import Any

import pytest

from tests.service.conftest import Gateway, problem
from tests.service.test_collections import MANY, PETS, ask, build, make, put

ROWS = [row | {"metadata": {"n": n % 3}} for n, row in enumerate(MANY[:30])]


def listed(gateway: Gateway, **asked: Any) -> Any:
    answer = gateway.http.get("/v1/collections/pets/documents", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_documents_read_back_by_id_in_the_order_that_was_asked_for(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [*PETS, {"id": "v", "vector": [1.0] * 8, "metadata": {"a": [1, None]}}])
    found = listed(gateway, id=["v", "nobody", "a", "v"])["data"]
    assert [one["id"] for one in found] == ["v", "a"]
    assert found[0] == {
        "id": "v",
        "object": "collection.document",
        "text": None,
        "metadata": {"a": [1, None]},
        "has_vector": True,
    }
    assert found[1]["text"] == "the dog barks" and not found[1]["has_vector"]


def test_all_documents_are_walked_a_page_at_a_time(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, ROWS)
    walked, after, more = [], {}, True
    while more:
        page = listed(gateway, limit=7, **after)
        walked += [one["id"] for one in page["data"]]
        after, more = {"after": page["last_id"]}, page["has_more"]
    assert walked == sorted(row["id"] for row in ROWS)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_documents_are_listed_in_the_order_of_their_ids_or_against_it(gateway: Gateway, order: str) -> None:
    make(gateway)
    put(gateway, ROWS)
    walked, after, more = [], {}, True
    while more:
        page = listed(gateway, limit=7, order=order, **after)
        walked += [one["id"] for one in page["data"]]
        after, more = {"after": page["last_id"]}, page["has_more"]
    assert walked == sorted((row["id"] for row in ROWS), reverse=order == "desc")


def test_a_list_goes_on_behind_an_id_whether_or_not_it_is_there(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    gateway.http.delete("/v1/collections/pets/documents", params={"id": "b"})
    assert [one["id"] for one in listed(gateway, after="b")["data"]] == ["c"]
    assert [one["id"] for one in listed(gateway, after="b", order="desc")["data"]] == ["a"]


@pytest.mark.parametrize(
    ("params", "code", "told"),
    [
        ({"ordre": "desc"}, "unknown_field", "query parameter ordre is not known; did you mean order?"),
        ({"filter": "{}"}, "unknown_field", "known are id, after, limit, order"),
        ({"ids": "a"}, "unknown_field", "did you mean id?"),
        ({"order": "down"}, "invalid_value", "query parameter order"),
        ({"id": "a", "after": "b"}, "invalid_value", "leave them out where id names some"),
        ({"id": "a", "order": "asc"}, "invalid_value", "leave them out where id names some"),
    ],
)
def test_what_a_list_does_not_know_is_not_left_out_in_silence(
    gateway: Gateway, params: dict[str, str], code: str, told: str
) -> None:
    make(gateway)
    put(gateway, PETS)
    answer = gateway.http.get("/v1/collections/pets/documents", params=params)
    assert told in problem(answer, 422, code)["detail"]


def test_a_misspelt_parameter_deletes_nothing(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    answer = gateway.http.delete("/v1/collections/pets/documents", params={"id": "a", "after": "a"})
    assert "known are id" in problem(answer, 422, "unknown_field")["detail"]
    assert len(listed(gateway)["data"]) == 3


@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_deleted_is_found_no_more_and_can_come_back(gateway: Gateway, indexed: bool) -> None:
    make(gateway)
    put(gateway, PETS)
    if indexed:
        build(gateway)
    answer = gateway.http.delete("/v1/collections/pets/documents", params={"id": ["a", "x"]})
    assert answer.json() == {"object": "collection.documents.deleted", "deleted": 1, "warnings": []}
    assert [hit["id"] for hit in ask(gateway, query="the dog barks").json()["hits"]] != []
    assert "a" not in [hit["id"] for hit in ask(gateway, query="the dog barks").json()["hits"]]
    assert gateway.http.post("/v1/collections/pets/count", json={}).json()["count"] == 2
    assert gateway.http.get("/v1/collections/pets").json()["count"] == 2
    put(gateway, PETS[:1])
    assert ask(gateway, query="the dog barks").json()["hits"][0]["id"] == "a"
    if indexed:
        build(gateway)
        assert len(ask(gateway, query="dog").json()["hits"]) == 3


def test_a_filter_counts_and_deletes_what_it_allows(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, ROWS[:20])
    build(gateway)
    put(gateway, ROWS[20:])
    one = {"type": "eq", "key": "n", "value": 1}
    assert gateway.http.post("/v1/collections/pets/count", json={"filter": one}).json()["count"] == 10
    gone = gateway.http.post("/v1/collections/pets/documents/delete", json={"filter": one})
    assert gone.json()["deleted"] == 10
    assert gateway.http.post("/v1/collections/pets/count", json={"filter": one}).json()["count"] == 0
    assert gateway.http.post("/v1/collections/pets/count", json={}).json()["count"] == 20
    assert {one["metadata"]["n"] for one in listed(gateway, limit=100)["data"]} == {0, 2}


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": ["a"], "filter": {"type": "exists", "key": "a"}}])
def test_what_to_delete_has_to_be_said_in_one_way(gateway: Gateway, body: dict[str, Any]) -> None:
    make(gateway)
    put(gateway, PETS)
    problem(gateway.http.post("/v1/collections/pets/documents/delete", json=body), 422, "invalid_value")
    assert gateway.http.delete("/v1/collections/pets/documents").json()["deleted"] == 0
    assert len(listed(gateway)["data"]) == 3


def test_so_many_deletions_order_an_index_that_lets_them_go(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    put(gateway, [{"id": f"d{n}", "vector": [n + 1.0, 1.0]} for n in range(1_500)], "own")
    version = build(gateway, "own", fingerprint=None)
    gateway.http.post("/v1/collections/own/documents/delete", json={"ids": [f"d{n}" for n in range(1_200)]})
    assert [job["status"] for job in gateway.http.get("/v1/jobs").json()["data"]] == ["queued", "succeeded"]
    newer = build(gateway, "own", fingerprint=None)
    assert (version.count, newer.count) == (1_500, 300)
    assert len(ask(gateway, "own", vector=[1, 0], k=1_000).json()["hits"]) == 300


def delete_by(gateway: Gateway, **asked: Any) -> Any:
    return gateway.http.post("/v1/collections/pets/documents/delete", json={"filter": asked})


MISSPELT = [
    {"type": "ne", "key": "m", "value": 1},
    {"type": "nin", "key": "m", "value": [1]},
    {"type": "exists", "key": "m", "value": False},
    {"type": "not", "filters": [{"type": "eq", "key": "m", "value": 1}]},
    {"type": "or", "filters": [{"type": "eq", "key": "m", "value": 1}, {"type": "eq", "key": "n", "value": 1}]},
]


@pytest.mark.parametrize("asked", MISSPELT)
def test_a_misspelt_key_deletes_nothing_that_passes_nevertheless(gateway: Gateway, asked: dict[str, Any]) -> None:
    make(gateway)
    put(gateway, ROWS)
    answer = delete_by(gateway, **asked)
    assert "no document has the metadata key 'm'" in problem(answer, 422, "unknown_key")["detail"]
    assert len(listed(gateway, limit=100)["data"]) == len(ROWS)


def test_the_key_that_was_meant_is_named(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [*PETS, {"id": "d", "text": "a fish", "metadata": {"language": "en"}}])
    answer = delete_by(gateway, type="ne", key="langauge", value="en")
    assert "did you mean 'language'?" in problem(answer, 422, "unknown_key")["detail"]
    assert delete_by(gateway, type="ne", key="language", value="en").json() == {
        "object": "collection.documents.deleted",
        "deleted": 3,
        "warnings": [],
    }


def test_an_unknown_key_that_lets_nothing_pass_is_a_warning_so_that_a_deletion_can_be_sent_again(
    gateway: Gateway,
) -> None:
    make(gateway)
    put(gateway, ROWS[:3])
    assert delete_by(gateway, type="gte", key="n", value=0).json()["deleted"] == 3
    again = delete_by(gateway, type="gte", key="n", value=0).json()
    assert (again["deleted"], again["warnings"]) == (0, ["no document has the metadata key 'n'"])
    put(gateway, PETS)
    assert delete_by(gateway, type="gte", key="n", value=0).json()["warnings"] == again["warnings"]


def test_the_key_of_a_document_that_waits_for_its_vector_is_known(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [*MANY, {"id": "last", "text": "a", "metadata": {"lang": "de"}}])
    assert ask(gateway, query="a").json()["pending"] == 258
    assert delete_by(gateway, type="ne", key="lang", value="de").json()["deleted"] == 257


@pytest.mark.parametrize("indexed", [False, True])
def test_a_key_that_only_deleted_documents_had_is_a_warning_wherever_it_is_asked_for(
    gateway: Gateway, indexed: bool
) -> None:
    make(gateway)
    put(gateway, [*PETS, {"id": "d", "text": "a fish", "metadata": {"lang": "en", "tags": []}}])
    if indexed:
        build(gateway)
    asked = {
        "type": "and",
        "filters": [{"type": "ne", "key": "lang", "value": "de"}, {"type": "exists", "key": "yaer"}],
    }
    told = ["no searchable document has the metadata key 'yaer'"]
    for sent in ({"query": "a", "filter": asked}, {"queries": [{"query": "a", "filter": asked}, {"query": "a"}]}):
        answer = ask(gateway, **sent).json()
        assert [one["warnings"] for one in answer.get("results", [answer])] == [told, []][
            : len(sent.get("queries", "1"))
        ]
    counted = gateway.http.post("/v1/collections/pets/count", json={"filter": asked}).json()
    assert (counted["count"], counted["warnings"]) == (0, told)
    gateway.http.delete("/v1/collections/pets/documents", params={"id": "d"})
    told = [f"no searchable document has the metadata key {key!r}" for key in ("lang", "yaer")]
    assert ask(gateway, query="a", filter=asked).json()["warnings"] == told
    assert gateway.http.post("/v1/collections/pets/count", json={"filter": asked}).json()["warnings"] == told
