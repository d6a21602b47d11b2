"""What a query may cost: metadata, hits of a call and bytes of an answer have limits, and nothing larger is made."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.schemas.collections import MAX_CALL_HITS, MAX_QUERIES
from service.schemas.documents import MAX_METADATA_BYTES
from service.shown import MAX_ANSWER_BYTES
from tests.service.conftest import Gateway, lines, problem
from tests.service.test_collections import NDJSON, ask, build, make, put

LONGEST = 262_144  # characters of a text


def metadata(num_bytes: int) -> dict[str, str]:
    """Metadata that has so many bytes as JSON."""
    made = {f"{place:03}": "x" * 1_000 for place in range(62)}
    made["000"] += "x" * (num_bytes - len(json.dumps(made, separators=(",", ":"))))
    return made


@contextmanager
def in_memory_at_most(num_bytes: int) -> Iterator[None]:
    """What Python allocates meanwhile is never more than that beside what it holds already."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before <= num_bytes, f"{(peak - before) / 1e6:.0f} MB"


@pytest.fixture
def long(gateway: Gateway) -> Gateway:
    """A collection of 24 of the longest texts, each of which is found by every vector."""
    make(gateway, name="own", model=None, dimension=2)
    rows = [{"id": f"d{n}", "vector": [1, n], "text": "x" * LONGEST, "metadata": {"place": n}} for n in range(24)]
    assert put(gateway, rows, "own").status_code == 200
    return gateway


MANY_QUERIES = {"queries": [{"vector": [1, 1], "k": 5}] * MAX_QUERIES}


def test_an_answer_that_would_be_too_large_is_refused_before_it_is_made(long: Gateway) -> None:
    with in_memory_at_most(2 * MAX_ANSWER_BYTES):
        answer = ask(long, "own", **MANY_QUERIES)  # 14 KB, for 336 MB
    detail = problem(answer, 422, "answer_too_large")["detail"]
    assert "127 hits have 33," in detail and "the limit of an answer is 33,554,432" in detail and "include" in detail
    assert len(ask(long, "own", vector=[1, 1], k=24).json()["hits"]) == 24


def test_only_what_is_shown_counts(long: Gateway) -> None:
    queries = [{**one, "include": ["metadata"]} for one in MANY_QUERIES["queries"]]
    results = ask(long, "own", queries=queries).json()["results"]
    assert {len(one["hits"]) for one in results} == {5}
    assert results[0]["hits"][0] == {**results[0]["hits"][0], "id": "d1", "text": None, "metadata": {"place": 1}}
    queries[0] = MANY_QUERIES["queries"][0]
    mixed = ask(long, "own", queries=queries).json()["results"]
    assert [hit["text"] is None for one in mixed[:2] for hit in one["hits"]] == [False] * 5 + [True] * 5


def test_signs_count_as_they_are_written(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    rows = [{"id": f"d{n}", "vector": [1, n], "text": "x" + "\x01" * (LONGEST - 1)} for n in range(24)]
    assert all(put(gateway, [row], "own").status_code == 200 for row in rows)  # each is six bytes as JSON
    problem(ask(gateway, "own", vector=[1, 1], k=24), 422, "answer_too_large")
    answer = ask(gateway, "own", vector=[1, 1], k=21)
    assert answer.status_code == 200 and MAX_ANSWER_BYTES - 8 * LONGEST < len(answer.content) <= MAX_ANSWER_BYTES


def test_metadata_has_a_limit_whichever_way_it_comes(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    fits, large = metadata(MAX_METADATA_BYTES), metadata(MAX_METADATA_BYTES + 1)
    assert put(gateway, [{"id": "a", "vector": [1, 0], "metadata": fits}], "own").status_code == 200
    row = {"id": "b", "vector": [1, 0], "metadata": large}
    detail = problem(put(gateway, [row], "own"), 422, "metadata_too_large")["detail"]
    assert detail.startswith("documents.0.metadata: has 65,537 bytes as JSON; the limit is 65,536; keep")
    answer = gateway.http.post("/v1/collections/own/documents", content=lines([row]), headers=NDJSON)
    assert problem(answer, 422, "dataset_invalid")["errors"][0]["code"] == "metadata_too_large"
    [hit] = ask(gateway, "own", vector=[1, 0]).json()["hits"]
    assert hit["metadata"] == fits


def test_the_hits_of_a_call_have_a_limit(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    most = [{"vector": [1, 0], "k": 256}] * (MAX_CALL_HITS // 256)
    assert ask(gateway, "own", queries=most).status_code == 200
    answer = ask(gateway, "own", queries=[*most[1:], {"vector": [1, 0], "k": 256, "offset": 1}])
    assert "65,537 hits to look for" in problem(answer, 422, "invalid_value")["detail"]


def test_a_comparison_has_the_limit_of_an_answer(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [{"id": f"d{n}", "text": f"word{n} " + "x" * 20_000} for n in range(20)])
    version = build(gateway).id
    asked = {"queries": [f"word{n}" for n in range(50)], "a": version, "b": version, "k": 20}
    with in_memory_at_most(2 * MAX_ANSWER_BYTES):
        answer = gateway.http.post("/v1/collections/pets/compare", json=asked)  # 20 MB on either side
    problem(answer, 422, "answer_too_large")
    assert gateway.http.post("/v1/collections/pets/compare", json={**asked, "k": 10}).status_code == 200


def test_a_window_of_documents_ends_where_it_would_be_too_large(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=2)
    rows = [{"id": f"d{n:03}", "vector": [1, n], "text": "é" * LONGEST} for n in range(100)]
    for start in range(0, 100, 25):
        assert put(gateway, rows[start : start + 25], "own").status_code == 200
    walked, after, more = [], {}, True
    while more:
        with in_memory_at_most(6 * MAX_ANSWER_BYTES):
            answer = gateway.http.get("/v1/collections/own/documents", params={"limit": 1_000, **after})
        assert len(answer.content) <= MAX_ANSWER_BYTES + 100_000
        page = answer.json()
        walked += [one["id"] for one in page["data"]]
        after, more = {"after": page["last_id"]}, page["has_more"]
    assert walked == [row["id"] for row in rows] and len(page["data"]) < 63
