"""The benchmarks of searching find what they should, say what it took, and are asked through a user's door."""

import json
import sys
from collections.abc import Iterator
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


BRUTE = '''
"""What of hnswlib the benchmarks use, found by comparing with everything."""
import numpy as np

class Index:
    def __init__(self, space, dim):
        assert space == "ip"

    def init_index(self, max_elements, M, ef_construction):
        self.most, self.asked_in = max_elements, None

    def set_num_threads(self, num):
        self.built_in = num

    def add_items(self, vectors):
        assert len(vectors) <= self.most
        self.vectors = np.array(vectors)

    def set_ef(self, ef):
        self.ef = ef

    def knn_query(self, data, k=1, num_threads=-1, filter=None):
        allowed = np.array([place for place in range(len(self.vectors)) if filter is None or filter(place)])
        if len(allowed) < 10 * k and filter is not None:
            raise RuntimeError("Cannot return the results in a contiguous 2D array. Probably ef or M is too small")
        scores = np.asarray(data) @ self.vectors[allowed].T
        order = np.argsort(-scores, axis=1)[:, :k]
        return allowed[order].astype(np.uint64), 1 - np.take_along_axis(scores, order, axis=1)
'''


@pytest.fixture
def brute_hnswlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in for hnswlib, which has to be compiled, that gives up behind narrow filters as it does."""
    folder = tmp_path / "brute"
    folder.mkdir()
    (folder / "hnswlib.py").write_text(BRUTE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "hnswlib", raising=False)
    yield
    sys.modules.pop("hnswlib", None)


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


@pytest.mark.usefixtures("brute_hnswlib")
def test_hnswlib_takes_part_behind_filters_too_and_what_it_gives_up_is_not_found() -> None:
    words = ("--vectors", 1_000, "--dimensions", 8, "--queries", 64, "--rounds", 1, "--type", "flat")
    rows = rows_of("search", *words)
    assert [row["recall"] for row in rows["search"] if row["name"] == "hnswlib"] == [1.0]
    theirs = {row["filter"]: row["recall"] for row in rows["filter"] if row["name"] == "hnswlib"}
    sides = {"50.0%, of one side": 1.0, "10.0%, of one side": 1.0}
    assert theirs == {"50.0%": 1.0, "10.0%": 1.0, "2.0%": 0.0, "0.5%": 0.0, **sides}


def test_hnswlib_itself_takes_part() -> None:
    pytest.importorskip("hnswlib")
    rows = rows_of("search", "--vectors", 1_000, "--dimensions", 8, "--queries", 64, "--rounds", 1, "--type", "flat")
    [found] = [row for row in rows["search"] if row["name"] == "hnswlib"]
    behind = {row["filter"]: row["recall"] for row in rows["filter"] if row["name"] == "hnswlib"}
    assert found["recall"] > 0.9 and behind["50.0%"] > 0.9 and len(behind) == 6


def test_a_missing_hnswlib_is_said_and_nothing_else_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    done = bench("search", "--vectors", 300, "--dimensions", 8, "--queries", 64, "--rounds", 1, "--type", "flat")
    text = " ".join(done.stdout.split())
    assert "hnswlib is not installed; pip install hnswlib compiles it, with g++" in text and "IndexHNSWFlat" in text


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


@pytest.mark.usefixtures("brute_hnswlib")
def test_a_collection_is_written_asked_and_opened_over_http(tmp_path: Path) -> None:
    sizes = ("--vectors", 1_200, "--dimensions", 32, "--queries", 64, "--written", 100, "--texts", 257, "--rounds", 1)
    rows = rows_of("collections", "--model", tiny_model(tmp_path / "tiny"), *sizes)
    assert [row["name"] for row in rows["query"]] == [
        "faiss, in this process",
        "VectorIndex, flat, in this process",
        "hnswlib, in this process",
        "vector",
        "vector as a list",
        "vector, ids alone",
        "64 vectors a call",
        *(f"vector, a filter leaves {share}" for share in SHARES),
        "text",
        "vector, 10% newer than the index",
    ]
    assert all(row["recall"] == 1.0 for row in rows["query"] if "recall" in row) and len(rows["query"]) == 13
    p50_ms = {row["name"].removesuffix(", in this process"): row["p50_ms"] for row in rows["query"]}
    asked = rows["query"][3]
    assert asked["over_ms"] == pytest.approx(p50_ms["vector"] - p50_ms["faiss"])
    assert asked["over_hnswlib_ms"] == pytest.approx(p50_ms["vector"] - p50_ms["hnswlib"])
    rates = {row["name"]: row for row in rows["writing"]}
    assert len(rates) == 8 and all(row["per_second"] > 0 for row in rates.values())
    assert (
        rates["texts, a stream, by a job"]["share"] > 0
        and rates["vectors, base64, the whole collection"]["count"] == 1_200
    )
    assert [row["name"] for row in rows["opening"]] == ["the index alone", "with 10% of the documents newer"]


def test_fewer_documents_than_an_index_is_made_for_are_refused(tmp_path: Path) -> None:
    sizes = ("--vectors", 900, "--dimensions", 8, "--queries", 64)
    done = bench("collections", "--model", tiny_model(tmp_path / "tiny"), *sizes)
    assert (done.exit_code, done.stdout) == (1, "") and "up to 1,000 have no index" in done.stderr
