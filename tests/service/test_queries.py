"""What a query can ask for beside the nearest texts: filters, neighbours of a document, pages, several at once."""

from typing import Any

import faiss
import numpy as np
import pytest

from infonce.config import Side
from service.schemas.collections import CollectionQuery, QueryAnswer, QueryAnswers
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import Gateway, WordEncoder, problem
from tests.service.test_collections import ask, build, make, put
from tests.service.test_live_documents import another

TEXTS = [f"word{n % 3} word{n % 5} word{n}" for n in range(30)]
ROWS = [
    {"id": f"d{n}", "text": text, "metadata": {"year": 2_000 + n % 4, "tags": ["even"] if n % 2 == 0 else ["odd", n]}}
    for n, text in enumerate(TEXTS)
]


@pytest.fixture
def filled(gateway: Gateway) -> Gateway:
    """A collection of thirty documents."""
    make(gateway)
    put(gateway, ROWS)
    build(gateway)
    return gateway


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def nearest(text: str, allowed: list[int]) -> list[str]:
    vectors = np.concatenate([WordEncoder().encode([one], side=Side.DOCUMENT) for one in TEXTS])
    [query] = WordEncoder().encode([text], side=Side.QUERY)
    return [f"d{n}" for n in sorted(allowed, key=lambda n: -float(vectors[n] @ query))]


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"type": "eq", "key": "year", "value": 2_001}, range(1, 30, 4)),
        ({"type": "eq", "key": "tags", "value": "even"}, range(0, 30, 2)),
        ({"type": "in", "key": "tags", "value": [3, 5, "none"]}, [3, 5]),
        ({"type": "not", "filters": [{"type": "gte", "key": "year", "value": 2_001}]}, range(0, 30, 4)),
        ({"type": "exists", "key": "year", "value": False}, []),
        (
            {
                "type": "and",
                "filters": [{"type": "lt", "key": "year", "value": 2_002}, {"type": "ne", "key": "tags", "value": 1}],
            },
            [n for n in range(30) if n % 4 < 2 and n != 1],
        ),
    ],
)
def test_a_filter_finds_the_nearest_of_what_it_allows_and_never_fewer(
    filled: Gateway, asked: dict[str, Any], allowed: Any
) -> None:
    found = ids(ask(filled, query="word1 word4", k=8, filter=asked))
    assert found == nearest("word1 word4", list(allowed))[:8]


def test_a_key_that_no_document_has_is_a_warning(filled: Gateway) -> None:
    asked = {"type": "or", "filters": [{"type": "eq", "key": "yaer", "value": 1}, {"type": "exists", "key": "year"}]}
    body = ask(filled, query="word1", filter=asked, k=3).json()
    assert body["warnings"] == ["no searchable document has the metadata key 'yaer'"] and len(body["hits"]) == 3
    assert ask(filled, query="word1", filter={"type": "eq", "key": "yaer", "value": 1}).json()["hits"] == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"type": "is", "key": "a", "value": 1}, "filter.type"),
        ({"type": "eq", "value": 1}, "eq takes a key and no filters"),
        ({"type": "eq", "key": "a"}, "eq takes a value"),
        ({"type": "eq", "key": "a", "value": [1]}, "one value; for several there are in and nin"),
        ({"type": "in", "key": "a", "value": 1}, "the value of in must be a list"),
        ({"type": "in", "key": "a", "value": []}, "at least one value"),
        ({"type": "gt", "key": "a", "value": True}, "a text or a number"),
        ({"type": "exists", "key": "a", "value": 1}, "true or false"),
        ({"type": "and", "filters": []}, "filter.filters"),
        ({"type": "and", "key": "a", "filters": [{"type": "exists", "key": "a"}]}, "and takes filters"),
        ({"type": "eq", "key": "a", "value": {"b": 1}}, "filter.value"),
        ({"type": "eq", "key": "a", "value": 2**53 + 1}, "a whole one within ±2^53"),
        ({"type": "lt", "key": "a", "value": -(2**70)}, "a whole one within ±2^53"),
        ({"type": "in", "key": "a", "value": [1, 2**53 + 1]}, "a whole one within ±2^53"),
        ({"type": "eq", "key": "a", "value": 1, "valeu": 2}, "did you mean value?"),
    ],
)
def test_a_filter_that_says_nothing_is_refused_with_what_it_lacks(
    filled: Gateway, asked: dict[str, Any], message: str
) -> None:
    assert message in str(ask(filled, query="a", filter=asked).json()["detail"])
    assert ask(filled, query="a", filter=asked).status_code == 422


def test_a_number_is_equal_to_itself_alone(gateway: Gateway) -> None:
    make(gateway)
    numbers = [2**53, 2**53 - 1, 1.5, 9.1e18, -(2**53)]
    put(gateway, [{"id": str(n), "text": f"word{n}", "metadata": {"n": number}} for n, number in enumerate(numbers)])
    for place, number in enumerate(numbers):
        assert ids(ask(gateway, query="a", filter={"type": "eq", "key": "n", "value": number})) == [str(place)]
    body = {"documents": [{"id": "a", "text": "b", "metadata": {"n": 2**53 + 1}}]}
    answer = gateway.http.post("/v1/collections/pets/documents", json=body)
    assert "a whole one within ±2^53" in problem(answer, 422, "invalid_value")["detail"]


def test_a_filter_has_a_limit_of_depth_and_size(filled: Gateway) -> None:
    one: dict[str, Any] = {"type": "exists", "key": "a"}
    deep = one
    for _ in range(8):
        deep = {"type": "not", "filters": [deep]}
    assert "deeper than 8" in problem(ask(filled, query="a", filter=deep), 422, "invalid_value")["detail"]
    wide = {"type": "or", "filters": [{"type": "or", "filters": [one] * 60}] * 2}
    assert "more than 100" in problem(ask(filled, query="a", filter=wide), 422, "invalid_value")["detail"]


def test_pages_follow_each_other_and_a_threshold_ends_them(filled: Gateway) -> None:
    everything = ask(filled, query="word1 word2", k=30).json()["hits"]
    pages = [hit for start in (0, 10, 20) for hit in ask(filled, query="word1 word2", offset=start).json()["hits"]]
    assert pages == everything and ids(ask(filled, query="word1 word2", offset=30)) == []
    bound = everything[4]["score"]
    above = ids(ask(filled, query="word1 word2", k=30, score_threshold=bound))
    assert above == [hit["id"] for hit in everything if hit["score"] >= bound]


def test_neighbours_of_a_document_are_those_of_its_text_without_itself(filled: Gateway) -> None:
    found = ids(ask(filled, id="d7", k=5))
    assert found == [id for id in nearest(TEXTS[7], list(range(30))) if id != "d7"][:5]
    problem(ask(filled, id="nobody"), 404, "not_found")


def test_several_queries_are_answered_as_each_alone_and_by_one_version(filled: Gateway) -> None:
    year = {"type": "eq", "key": "year", "value": 2_001}
    vector = [1.0] * len(WordEncoder().encode(["a"], side=Side.QUERY)[0])
    queries = [{"query": "word1"}, {"id": "d3", "k": 4}, {"vector": vector}, {"query": "word2", "filter": year}]
    body = ask(filled, queries=queries).json()
    alone = [ask(filled, **query).json() for query in queries]
    assert [one["hits"] for one in body["results"]] == [one["hits"] for one in alone]
    assert {body["version"], *(one["version"] for one in alone)} == {body["version"]} and "hits" not in body


def test_exact_is_the_same_for_a_small_collection(filled: Gateway) -> None:
    assert ids(ask(filled, query="word1", exact=True)) == ids(ask(filled, query="word1"))


def test_many_queries_of_a_call_are_searched_on_several_cores_and_find_the_same(
    filled: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", told.append)
    search, one = another(filled, num_threads=3), CollectionQuery(query="word1 word4", k=2)
    alone = search.query(DEFAULT_PROJECT, "pets", asked=one).answer
    assert isinstance(alone, QueryAnswer) and not told
    for count, threads in ((31, []), (40, [2, 1]), (200, [3, 1])):
        told.clear()
        many = search.query(DEFAULT_PROJECT, "pets", asked=CollectionQuery(queries=[one] * count)).answer
        assert isinstance(many, QueryAnswers) and told == threads
        assert [result.hits for result in many.results] == [alone.hits] * count
