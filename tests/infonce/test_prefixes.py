"""A prefix finds candidates only where it has shown that they hold the true neighbours."""

import numpy as np
import pytest
from numpy.typing import NDArray

from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType
from infonce.prefixes import RECALL, shortest_prefix

CONFIG = IndexConfig(type=IndexType.HNSW)
DIMENSIONS = 32


def leading(count: int, strong: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors of which the first dimensions say nearly everything."""
    drawn = np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)
    drawn[:, strong:] *= 0.02
    unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def slow_recall(vectors: NDArray[np.float32], prefix: int, *, asking: int) -> float:
    """Of the ten nearest others of the first vectors, how many are among the candidates of the prefix."""
    cut = vectors[:, :prefix] / np.linalg.norm(vectors[:, :prefix], axis=1, keepdims=True)
    shares = []
    for row in range(asking):
        orders = [np.argsort(-(some @ some[row])) for some in (vectors, cut)]
        true, found = ([other for other in order.tolist() if other != row] for order in orders)
        shares.append(len(set(true[:10]) & set(found[: CONFIG.candidates(10)])) / 10)
    return float(np.mean(shares))


@pytest.mark.parametrize("strong", [4, 8, 16])
def test_the_shortest_that_is_enough_is_taken(strong: int) -> None:
    vectors = leading(4_000, strong)
    assert shortest_prefix(vectors, {4, 8, 16}, config=CONFIG) == strong
    assert slow_recall(vectors, strong, asking=50) >= RECALL
    assert strong == 4 or slow_recall(vectors, strong // 2, asking=50) < RECALL


def test_none_is_taken_where_every_dimension_counts() -> None:
    vectors = leading(4_000, DIMENSIONS)
    assert shortest_prefix(vectors, {4, 8, 16}, config=CONFIG) is None
    assert slow_recall(vectors, 16, asking=50) < RECALL


def test_what_is_no_prefix_of_these_vectors_is_passed_over() -> None:
    vectors = leading(4_000, 4)
    assert shortest_prefix(vectors, {32, 64}, config=CONFIG) is None
    assert shortest_prefix(vectors, {4, 32, 64}, config=CONFIG) == 4
    assert shortest_prefix(vectors, set(), config=CONFIG) is None


@pytest.mark.parametrize("count", [0, 1, 10, 11, 300])
def test_few_vectors_and_equal_ones_are_no_trouble(count: int) -> None:
    found = shortest_prefix(np.tile(leading(1, 4), (count, 1)), {4}, config=CONFIG)
    assert found in (None, 4)
    assert count > 10 or found is None


def test_an_index_by_the_prefix_finds_what_all_vectors_find() -> None:
    vectors, queries = leading(3_000, 8), leading(40, 8, seed=1)
    names = [str(row) for row in range(len(vectors))]
    config = IndexConfig(type=IndexType.IVF_SQ8, prefix=8, exact_up_to=0)
    index = VectorIndex.build(vectors, names, config=config)
    found, true = index.search(queries, 10), index.search(queries, 10, exact=True)
    shares = [len(set(one.ids) & set(other.ids)) / 10 for one, other in zip(found, true, strict=True)]
    assert np.mean(shares) >= 0.97
    for one, other in zip(found, true, strict=True):
        exact = dict(zip(other.ids, other.scores, strict=True))
        both = [(score, exact[id]) for id, score in zip(one.ids, one.scores, strict=True) if id in exact]
        assert both and all(abs(score - true) < 1e-6 for score, true in both)
