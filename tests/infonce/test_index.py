"""The index finds what brute force finds, and refuses files that are not those it wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infonce.errors import IndexCorrupt, IndexMismatch
from infonce.index import VectorIndex


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
