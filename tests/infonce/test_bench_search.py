"""The benchmarks of searching find what they should, say what it took, and are asked through a user's door."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.bench.neighbours import Neighbours
from infonce.bench.stored import Documents, array
from infonce.bench.vectors import clustered
from tests.factories import tiny_model
from tests.infonce.test_bench import bench

SHARES = ("50.0%", "10.0%", "2.0%", "0.5%")


def rows_of(*words: object) -> dict[str, list[dict[str, Any]]]:
    """The rows that the command printed, by their kind."""
    done = bench(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, list[dict[str, Any]]] = {}
    for row in map(json.loads, done.stdout.splitlines()):
        found.setdefault(row["kind"], []).append(row)
    return found


def test_search_finds_the_true_neighbours_of_a_file_of_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((500, 8)))
    words = ("--queries", 64, "--rounds", 1, "--type", "flat", "--type", "hnsw", "--output", tmp_path / "out")
    rows = rows_of("search", tmp_path / "v.npy", *words)
    names = [row["name"] for row in rows["search"][:5]]
    assert names[0] == "infonce, VectorIndex, flat" and names[3:] == ["faiss, IndexFlatIP", "faiss, IndexHNSWFlat"]
    assert [row["recall"] for row in rows["search"][:4]] == [1.0] * 4 and rows["search"][4]["recall"] > 0.9
    assert all(row["batch_64"] > 0 and row["single_ms"] > 0 for row in rows["search"])
    ours = [row for row in rows["filter"] if row["side"] == "infonce"]
    assert [row["filter"] for row in ours] == [*SHARES, "50.0%, of one side", "10.0%, of one side"]
    assert [row["recall"] for row in ours] == [1.0] * 6
    flat, hnsw = rows["type"]
    assert flat["recall"] == 1 and hnsw["recall"] > 0.9 and hnsw["disk_share"] > flat["disk_share"] > 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"search.json", "search.md", "search.png"}


def test_a_missing_hnswlib_is_said_and_nothing_else_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    done = bench("search", "--vectors", 300, "--dimensions", 8, "--queries", 64, "--rounds", 1, "--type", "flat")
    assert "hnswlib is not installed; pip install hnswlib compiles it" in done.stdout and "IndexHNSWFlat" in done.stdout


def test_neighbours_are_those_of_a_plain_loop_and_a_filter_is_heeded() -> None:
    vectors, queries = clustered(300, 8, seed=0), clustered(5, 8, seed=1)
    allowed = np.random.default_rng(2).random(300) < 0.3
    order = [np.argsort(-(vectors @ query)).tolist() for query in queries]
    passing = [[place for place in places if allowed[place]] for places in order]
    assert Neighbours(vectors, queries, k=10).recall([places[:10] for places in order]) == 1.0
    assert Neighbours(vectors, queries, k=10, allowed=allowed).recall([places[:10] for places in passing]) == 1.0
    assert Neighbours(vectors, queries, k=10, allowed=allowed).recall([places[:9] for places in passing]) == 0.9
    assert Neighbours(vectors, queries, k=10).recall([[places[0]] * 10 for places in order]) == 0.1
    outside = [[place for place in places if not allowed[place]][:10] for places in order]
    assert Neighbours(vectors, queries, k=10, allowed=allowed).recall(outside) == 0.0


def test_documents_are_sent_with_the_same_numbers_in_both_forms() -> None:
    vectors = clustered(3, 4, seed=0)
    documents = Documents(vectors=vectors, texts=["one", "two"], parts=np.array([0, 1, 2]))
    first, last = (json.loads(array(documents.lines(range(3), as_lists=form)))["documents"] for form in (False, True))
    assert [one["text"] for one in first] == [one["text"] for one in last] == ["0: one", "1: two", "2: one"]
    assert np.array_equal(np.array([one["vector"] for one in last], dtype=np.float32), vectors)
    assert len(first[0]["vector"]) == 24 and first[2]["metadata"] == {"part": 2}


def test_a_collection_is_written_asked_and_opened_over_http(tmp_path: Path) -> None:
    sizes = ("--vectors", 1_200, "--dimensions", 32, "--queries", 64, "--written", 100, "--texts", 257, "--rounds", 1)
    rows = rows_of("collections", "--model", tiny_model(tmp_path / "tiny"), *sizes)
    assert [row["name"] for row in rows["query"]] == [
        "faiss, in this process",
        "VectorIndex, flat, in this process",
        "vector",
        "vector as a list",
        "vector, ids alone",
        "64 vectors a call",
        *(f"vector, a filter leaves {share}" for share in SHARES),
        "text",
        "vector, 10% newer than the index",
    ]
    assert all(row["recall"] == 1.0 for row in rows["query"] if "recall" in row) and len(rows["query"]) == 12
    assert rows["query"][2]["over_ms"] == pytest.approx(rows["query"][2]["p50_ms"] - rows["query"][0]["p50_ms"])
    rates = {row["name"]: row for row in rows["writing"]}
    assert len(rates) == 7 and all(row["per_second"] > 0 for row in rates.values())
    assert (
        rates["texts, a stream, by a job"]["share"] > 0
        and rates["vectors, base64, the whole collection"]["count"] == 1_200
    )
    assert [row["name"] for row in rows["opening"]] == ["the index alone", "with 10% of the documents newer"]


def test_fewer_documents_than_an_index_is_made_for_are_refused(tmp_path: Path) -> None:
    sizes = ("--vectors", 900, "--dimensions", 8, "--queries", 64)
    done = bench("collections", "--model", tiny_model(tmp_path / "tiny"), *sizes)
    assert (done.exit_code, done.stdout) == (1, "") and "up to 1,000 have no index" in done.stderr
