"""Hybrid queries: both sides and their joint score equal slow obvious ones, whatever was written or filtered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.config import Side
from infonce.fusion import Fusion, FusionMethod, fuse
from infonce.live_words import WORDS_FOLDER
from service.client import Client
from service.schemas.collections import CollectionCreate, CollectionQuery, Hybrid
from service.store.checksums import CHECKSUMS
from service.store.collection_records import VersionRecord
from service.store.records import DEFAULT_PROJECT
from tests.infonce.slow_bm25 import mean_length, slow_bm25
from tests.service.conftest import BASE, Gateway, Live, WordEncoder, problem
from tests.service.test_collections import ask, build, make, put
from tests.service.test_live_documents import another
from tests.service.test_queries import ids
from tests.service.workshop import work_off_index

TEXTS = {f"d{n}": f"word{n % 3} word{n % 5} word{n} {'rare' * (n == 17)}" for n in range(30)}
HYBRIDS: list[dict[str, Any]] = [
    {},
    {"method": "rrf"},
    {"method": "weighted"},
    {"method": "weighted", "weight": 0.2},
    {"method": "weighted", "weight": 1.0},
]


def rows(texts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"id": id, "text": text, "metadata": {"year": 2_000 + int(id[1:]) % 4}} for id, text in texts.items()]


def slowly(texts: dict[str, str], query: str, *, mean: float, hybrid: dict[str, Any], years: Any = None) -> Any:
    """The hits as ids with scores, of all documents."""
    vectors = np.concatenate([WordEncoder().encode([text], side=Side.DOCUMENT) for text in texts.values()])
    [asked] = WordEncoder().encode([query], side=Side.QUERY)
    allowed = [id for id in texts if years is None or int(id[1:]) % 4 in years]
    both = (
        {id: float(score) for id, score in zip(texts, vectors @ asked, strict=True) if id in allowed},
        {id: score for id, score in slow_bm25(texts, query, mean=mean).items() if id in allowed},
    )
    dense, words = (dict(sorted(one.items(), key=lambda pair: -pair[1])) for one in both)
    method = FusionMethod(hybrid.get("method", "weighted"))
    return fuse(dense, words, fusion=Fusion(method=method, weight=hybrid.get("weight", 0.7)))


def assert_equal(answer: Any, expected: list[tuple[str, float]], k: int) -> None:
    """The same scores, and each document has its own; equal ones may stand in either order."""
    assert answer.status_code == 200, answer.text
    found = [(hit["id"], hit["score"]) for hit in answer.json()["hits"]]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected[:k]], abs=1e-5)
    assert [score for _, score in found] == pytest.approx([dict(expected)[id] for id, _ in found], abs=1e-5)
    assert len({id for id, _ in found}) == len(found) == min(k, len(expected))


@pytest.fixture
def filled(gateway: Gateway) -> Gateway:
    """A collection of thirty documents in an index."""
    make(gateway)
    put(gateway, rows(TEXTS))
    build(gateway)
    return gateway


@pytest.mark.parametrize("hybrid", HYBRIDS, ids=str)
@pytest.mark.parametrize("query", ["word1 word4", "word2 rare rare", "unknown"])
def test_hits_equal_a_slow_obvious_fusion(filled: Gateway, hybrid: dict[str, Any], query: str) -> None:
    expected = slowly(TEXTS, query, mean=mean_length([*TEXTS.values()]), hybrid=hybrid)
    assert_equal(ask(filled, query=query, hybrid=hybrid, k=12), expected, 12)


@pytest.mark.parametrize("hybrid", HYBRIDS, ids=str)
def test_a_filter_holds_for_both_sides_and_never_costs_results(filled: Gateway, hybrid: dict[str, Any]) -> None:
    expected = slowly(TEXTS, "word1 word4", mean=mean_length([*TEXTS.values()]), hybrid=hybrid, years=[1])
    year = {"type": "eq", "key": "year", "value": 2_001}
    assert_equal(ask(filled, query="word1 word4", hybrid=hybrid, filter=year, k=30), expected, 30)


@pytest.mark.parametrize("hybrid", HYBRIDS[1:3], ids=str)
def test_what_was_written_replaced_and_deleted_since_counts_as_it_is_now(
    filled: Gateway, hybrid: dict[str, Any]
) -> None:
    mean = mean_length([*TEXTS.values()])
    assert "d17" in ids(ask(filled, query="word1 rare", hybrid=hybrid))  # the words are open from here on
    replaced = {"d17": "word2 word9", "d40": "rare rare word1", "d41": "new words altogether"}
    put(filled, rows(replaced))
    put(filled, rows({"d41": "new words word1", "d42": "word1 word1"}))
    filled.http.delete("/v1/collections/pets/documents?id=d1&id=d42")
    texts = TEXTS | replaced | {"d41": "new words word1"}
    texts = {id: text for id, text in texts.items() if id != "d1"}
    for query in ("word1 rare", "new", "altogether", "word9"):
        expected = slowly(texts, query, mean=mean, hybrid=hybrid)
        assert_equal(ask(filled, query=query, hybrid=hybrid, k=40), expected, 40)
    build(filled)
    expected = slowly(texts, "word1 rare", mean=mean_length([*texts.values()]), hybrid=hybrid)
    assert_equal(ask(filled, query="word1 rare", hybrid=hybrid, k=40), expected, 40)


def test_before_the_first_version_the_words_of_what_is_there_count(gateway: Gateway) -> None:
    make(gateway)
    assert ids(ask(gateway, query="anything", hybrid={})) == []
    put(gateway, rows(TEXTS))
    expected = slowly(TEXTS, "word1 rare", mean=mean_length([*TEXTS.values()]), hybrid={})
    assert_equal(ask(gateway, query="word1 rare", hybrid={}, k=30), expected, 30)


def test_two_gateways_agree_whenever_each_opened_the_words(filled: Gateway) -> None:
    search, other = filled.parts.search, another(filled)
    asked = CollectionQuery.model_validate({"query": "word1 rare word9", "k": 40, "hybrid": {"method": "weighted"}})
    for written in ({"d40": "rare word1"}, {"d40": "word9", "d3": "rare"}, {"d41": "rare"}):
        first = search.query(DEFAULT_PROJECT, "pets", asked=asked).answer
        put(filled, rows(written))
        both = [one.query(DEFAULT_PROJECT, "pets", asked=asked).answer for one in (search, other)]
        assert both[0] == both[1] != first
    filled.http.delete("/v1/collections/pets/documents?id=d40")
    late = another(filled)
    assert len({str(one.query(DEFAULT_PROJECT, "pets", asked=asked).answer) for one in (search, other, late)}) == 1


def test_pages_are_of_one_ranking_and_a_threshold_is_of_the_joint_score(filled: Gateway) -> None:
    asked = {"query": "word1 rare", "hybrid": {"method": "rrf"}}
    everything = ask(filled, **asked, k=30).json()["hits"]
    pages = [hit for start in (0, 10, 20) for hit in ask(filled, **asked, offset=start).json()["hits"]]
    assert pages == everything
    bound = everything[2]["score"]
    assert len(ids(ask(filled, **asked, k=30, score_threshold=bound))) == 3
    assert ids(ask(filled, **asked, exact=True)) == ids(ask(filled, **asked))


def test_several_queries_are_answered_as_each_alone(filled: Gateway) -> None:
    year = {"type": "eq", "key": "year", "value": 2_001}
    hybrids: list[dict[str, Any]] = [{"hybrid": {}}, {"hybrid": {"method": "weighted"}, "filter": year}, {}]
    queries = [{"query": text, "k": 5, **how} for how in hybrids for text in ("word1 rare", "word2")]
    body = ask(filled, queries=[*queries, {"id": "d3"}]).json()
    alone = [ask(filled, **query).json() for query in [*queries, {"id": "d3"}]]
    assert [one["hits"] for one in body["results"]] == [one["hits"] for one in alone]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"id": "d1", "hybrid": {}}, "invalid_value", "the query is an id; give query, a text, or leave hybrid out"),
        ({"vector": [1] * 8, "hybrid": {}}, "invalid_value", "the query is a vector"),
        (
            {"query": "a", "hybrid": {"method": "rrf", "weight": 0.5}},
            "invalid_value",
            "weight is 0.5; leave it out, or set method",
        ),
        ({"query": "a", "hybrid": {"method": "weighted", "weight": 1.5}}, "invalid_value", "less than or equal to 1"),
        ({"query": "a", "hybrid": {"method": "sum"}}, "invalid_value", "hybrid.method"),
        ({"query": "a", "hybrid": {"wieght": 1}}, "unknown_field", "did you mean weight?"),
        ({"query": "a", "hybrid": True}, "invalid_value", "hybrid"),
        ({"queries": [{"query": "a"}], "hybrid": {}}, "invalid_value", "queries stand alone"),
    ],
)
def test_a_hybrid_query_that_cannot_be_is_refused(
    filled: Gateway, body: dict[str, Any], code: str, message: str
) -> None:
    assert message in problem(ask(filled, **body), 422, code)["detail"]


def test_a_collection_without_a_model_or_without_texts_says_so(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    put(gateway, [{"id": "x", "vector": [5, 0], "text": "up"}], "own")
    told = problem(ask(gateway, "own", query="up", hybrid={}), 400, "no_model")["detail"]
    assert told.endswith("send a vector, without hybrid")
    make(gateway)
    put(gateway, [{"id": "x", "vector": [1.0] * 8}, {"id": "y", "vector": [2.0] + [0.0] * 7, "text": "?!"}])
    for _ in range(2):
        told = problem(ask(gateway, query="up", hybrid={}), 400, "no_texts")["detail"]
        assert told.startswith("no document of collection 'pets' has a text with a word in it")
        build(gateway)
    put(gateway, [{"id": "z", "text": "up"}])
    assert ids(ask(gateway, query="up", hybrid={}))[0] == "z"


def folder_of(gateway: Gateway, version: VersionRecord) -> Path:
    return gateway.parts.artifacts.collection_version_path(version.collection_id, str(version.folder))


def test_a_version_of_an_earlier_program_answers_as_before_and_says_what_a_hybrid_query_needs(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, rows(TEXTS))
    folder = folder_of(gateway, build(gateway))
    gateway.parts.artifacts.discard(folder / WORDS_FOLDER)
    gateway.parts.artifacts.seal(folder)
    assert len(ids(ask(gateway, query="word1"))) == 10
    told = problem(ask(gateway, query="word1", hybrid={}), 409, "no_words")["detail"]
    assert "order another one with POST /v1/collections/pets/versions and promote it" in told
    order = gateway.http.post("/v1/collections/pets/versions", json={"model": BASE})
    assert order.status_code == 202, order.text


@pytest.mark.parametrize("file", ["data.csc.index.npy", "vocab.index.json", "words.json"])
def test_damaged_words_are_reported_and_not_served_and_vectors_go_on(gateway: Gateway, file: str) -> None:
    make(gateway)
    put(gateway, rows(TEXTS))
    folder = folder_of(gateway, build(gateway))
    assert len(ids(ask(gateway, query="word1"))) == 10  # open, but for its words
    damaged = bytearray((folder / WORDS_FOLDER / file).read_bytes())
    damaged[-2] ^= 1
    (folder / WORDS_FOLDER / file).write_bytes(damaged)
    for _ in range(2):
        told = problem(ask(gateway, query="word1", hybrid={}), 503, "artifact_corrupt")["detail"]
        assert f"{WORDS_FOLDER}/{file}" in told and "orders a new index" in told
    assert len(ids(ask(gateway, query="word1"))) == 10
    put(gateway, rows({"d50": "word1"}))
    work_off_index(gateway.parts)
    assert len(ids(ask(gateway, query="word1", hybrid={}, k=40))) == 31


def test_words_of_another_index_are_not_served(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, rows(TEXTS))
    first = folder_of(gateway, build(gateway))
    put(gateway, rows({"d50": "word1"}))
    second = folder_of(gateway, build(gateway))
    gateway.parts.artifacts.discard(second / WORDS_FOLDER)
    (first / WORDS_FOLDER).rename(second / WORDS_FOLDER)
    (second / CHECKSUMS).unlink()
    gateway.parts.artifacts.seal(second)
    told = problem(ask(gateway, query="word1", hybrid={}), 503, "artifact_corrupt")["detail"]
    assert "are not of this index; rebuild the index" in told


def test_the_client_asks_both_ways(live: Live) -> None:
    with Client(live.url, api_key=live.key) as client:
        client.create_collection(CollectionCreate(name="pets", model=BASE))
        client.add_documents("pets", rows(TEXTS))
        hits = client.query("pets", "word1 rare", k=3, hybrid=Hybrid(method="weighted", weight=0.25)).hits
        expected = slowly(
            TEXTS, "word1 rare", mean=mean_length([*TEXTS.values()]), hybrid={"method": "weighted", "weight": 0.25}
        )
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected[:3]], abs=1e-5)
        assert all(hit.score < 0.05 for hit in client.query("pets", "word1 rare", hybrid=Hybrid(method="rrf")).hits)
