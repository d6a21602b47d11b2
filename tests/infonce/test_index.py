"""The index finds what brute force finds, and refuses files that are not those it wrote."""

import gc
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infonce.errors import ConfigError, IndexCorrupt, IndexMismatch
from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType


def units(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(count: int) -> list[str]:
    return [f"doc\n{number}" for number in range(count)]


@given(count=st.integers(0, 40), k=st.integers(1, 60))
def test_equals_brute_force_and_never_returns_padding(count: int, k: int) -> None:
    vectors, queries = units(count), units(3, seed=1)
    found = VectorIndex.build(vectors, names(count)).search(queries, k)
    for query, hits in zip(queries, found, strict=True):
        scores = vectors @ query
        best = np.argsort(-scores, kind="stable")[:k]
        assert list(hits.ids) == [f"doc\n{row}" for row in best]
        np.testing.assert_allclose(hits.scores, scores[best], atol=1e-6)


TYPES = [kind for kind in IndexType if kind is not IndexType.AUTO]
RIGHT = 0.97


def clustered(count: int, *, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    found = draw.normal(size=(40, 16))[draw.integers(0, 40, count)] + 0.5 * draw.normal(size=(count, 16))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=TYPES)
def of_type(request: pytest.FixtureRequest) -> VectorIndex:
    config = IndexConfig(type=request.param, exact_up_to=0)
    return VectorIndex.build(clustered(3_000), [str(row) for row in range(3_000)], config=config)


@given(share=st.sampled_from([1.0, 0.5, 0.1, 0.02, 0.005, 0.0]), k=st.integers(1, 30), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_every_type_finds_under_every_filter_what_brute_force_finds(
    of_type: VectorIndex, share: float, k: int, seed: int
) -> None:
    allowed = np.random.default_rng(seed).random(3_000) < share
    queries = clustered(20, seed=seed + 1)
    truth = np.where(allowed, queries @ clustered(3_000).T, -np.inf)
    found = of_type.search(queries, k, allowed=allowed)
    right = total = 0
    for hits, scores in zip(found, truth, strict=True):
        rows = [int(id) for id in hits.ids]
        assert len(set(rows)) == len(rows) == min(k, int(allowed.sum())) and allowed[rows].all()
        np.testing.assert_allclose(hits.scores, scores[rows], atol=1e-6)
        assert list(hits.scores) == sorted(hits.scores, reverse=True)
        right += int((scores[rows] >= np.sort(scores)[::-1][: len(rows)].min(initial=np.inf) - 1e-6).sum())
        total += len(rows)
    assert right >= RIGHT * total


@pytest.mark.parametrize("type", TYPES)
def test_every_type_comes_back_from_its_folder(type: IndexType, tmp_path: Path) -> None:
    config = IndexConfig(type=type, exact_up_to=0, prefix=8, refine=20)
    index = VectorIndex.build(clustered(500), [str(row) for row in range(500)], config=config)
    index.save(tmp_path)
    again = VectorIndex.load(tmp_path)
    assert again.type == index.type == type and list(again.ids) == list(index.ids)
    assert again.search(clustered(9, seed=1), 5) == index.search(clustered(9, seed=1), 5)
    exact = index.search(clustered(9, seed=1), 5, exact=True)
    assert [hits.ids for hits in exact] == [hits.ids for hits in again.search(clustered(9, seed=1), 5, exact=True)]


def test_auto_is_exact_for_few_vectors_and_a_graph_for_many() -> None:
    types = [IndexConfig().resolve(count, dimension=8).type for count in (0, 20_000, 20_001, 2_000_001)]
    assert types == [IndexType.FLAT, IndexType.FLAT, IndexType.HNSW, IndexType.IVF_SQ8]


def test_an_index_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    VectorIndex.build(units(20), names(20)).save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["config"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": 1, "type": "flat"}))
    assert VectorIndex.load(tmp_path).search(units(1), 3) == VectorIndex.build(units(20), names(20)).search(units(1), 3)


def test_a_manifest_that_leaves_a_file_out_is_refused(tmp_path: Path) -> None:
    VectorIndex.build(clustered(100), names(100), config=IndexConfig(type=IndexType.HNSW)).save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["sha256"]["approximate.faiss"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexCorrupt, match="lacks a file"):
        VectorIndex.load(tmp_path)


def test_too_few_vectors_for_product_quantisation_are_refused() -> None:
    config = IndexConfig(type=IndexType.IVF_PQ)
    with pytest.raises(ConfigError, match="there are 255 vectors; it needs 256: choose flat"):
        VectorIndex.build(units(255), names(255), config=config)
    assert VectorIndex.build(units(256), names(256), config=config).count == 256
    assert VectorIndex.build(units(0), [], config=config).is_exact


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path) -> None:
    index = VectorIndex.build(units(20), names(20), fingerprint="f")
    index.save(tmp_path)
    again = VectorIndex.load(tmp_path)
    assert again.search(units(2, seed=1), 5) == index.search(units(2, seed=1), 5)
    assert (again.fingerprint, again.count, again.dimension) == ("f", 20, 16)


@pytest.mark.parametrize("name", ["index.faiss", "ids"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_refused(name: str, damage: str, tmp_path: Path) -> None:
    VectorIndex.build(units(20), names(20)).save(tmp_path)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-7])
    with pytest.raises(IndexCorrupt, match="rebuild the index"):
        VectorIndex.load(tmp_path)


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", None])
def test_a_damaged_manifest_is_refused(manifest: str | None, tmp_path: Path) -> None:
    VectorIndex.build(units(3), names(3)).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.unlink() if manifest is None else path.write_text(manifest)
    with pytest.raises(IndexCorrupt):
        VectorIndex.load(tmp_path)


def test_a_manifest_that_tells_another_count_is_refused(tmp_path: Path) -> None:
    VectorIndex.build(units(3), names(3)).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"count": 4}))
    with pytest.raises(IndexCorrupt, match="not hold what its manifest says"):
        VectorIndex.load(tmp_path)


def test_what_faiss_would_accept_in_silence_is_refused() -> None:
    vectors = units(2)
    with pytest.raises(IndexMismatch, match="2 vectors and 3 ids"):
        VectorIndex.build(vectors, names(3))
    with pytest.raises(IndexMismatch, match="an id comes twice"):
        VectorIndex.build(vectors, ["a", "a"])
    vectors[0, 0] = np.nan
    with pytest.raises(IndexMismatch, match="non-finite"):
        VectorIndex.build(vectors, names(2))


def test_a_query_of_another_dimension_or_without_numbers_is_refused() -> None:
    index = VectorIndex.build(units(2), names(2))
    with pytest.raises(IndexMismatch, match="the index has 16 dimensions, the query has 3"):
        index.search(np.ones((1, 3), dtype=np.float32), 1)
    with pytest.raises(IndexMismatch, match="non-finite"):
        index.search(np.full((1, 16), np.inf, dtype=np.float32), 1)


def test_vectors_outlive_their_index_and_cannot_be_changed(tmp_path: Path) -> None:
    VectorIndex.build(units(500), names(500)).save(tmp_path)
    vectors = [VectorIndex.load(tmp_path).vectors, VectorIndex.build(units(500), names(500)).vectors]
    gc.collect()
    for found in vectors:
        np.testing.assert_array_equal(found, units(500))
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0] = 1.0


def test_many_hits_of_many_queries_are_ranked_without_all_their_vectors_in_memory() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(3_000, 1_024)).astype(np.float32)
    config = IndexConfig(type=IndexType.IVF_SQ8, exact_up_to=0, refine=1, probes=20)
    index = VectorIndex.build(vectors, names(3_000), config=config)
    queries = draw.normal(size=(64, 1_024)).astype(np.float32)
    tracemalloc.start()
    found = index.search(queries, 1_000)  # candidates of 262 MB
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6
    for place in (0, 15, 16, 63):
        [alone] = index.search(queries[place : place + 1], 1_000)
        assert found[place].ids == alone.ids
        np.testing.assert_allclose(found[place].scores, alone.scores, rtol=1e-4)
