"""The recall of an approximate index is what a look at everything says, on some of the queries that it answers."""

import threading
import time

import numpy as np
import pytest

from infonce.columns import Columns
from infonce.filters import Comparator, Condition, Filter
from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType
from infonce.live_index import Change, LiveIndex, Main
from service.recall import Asked, RecallWatch, recall

COUNT, DIMENSION, K = 3_000, 16, 10


def live(**config: int) -> LiveIndex:
    """Directions in an index that follows few of its links, and some that were written since."""
    vectors = np.random.default_rng(0).normal(size=(COUNT + 50, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings = IndexConfig(type=IndexType.HNSW, exact_up_to=0, **({"effort": 1, "refine": 1, "links": 4} | config))
    index = VectorIndex.build(vectors[:COUNT], [str(row) for row in range(COUNT)], config=settings)
    main = Main(index=index, columns=Columns(COUNT))
    newer = (Change(id=str(row), vector=vectors[row]) for row in range(COUNT, COUNT + 50))
    return LiveIndex.over(main).with_changes(newer)


def asked(index: LiveIndex, seed: int, *, filter: Filter | None = None) -> Asked:
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    vector /= np.linalg.norm(vector)
    [hits] = index.search(vector[None], K, asked=filter)
    return Asked(live=index, vector=vector, k=K, filter=filter, hits=hits)


def slow_recall(one: Asked) -> float:
    """The share of the exact ids."""
    scores = {id: float(one.live.vector(id) @ one.vector) for id in map(str, range(COUNT + 50))}  # type: ignore[operator]
    best = sorted(scores, key=lambda id: -scores[id])[:K]
    return len(set(best) & set(one.hits.ids)) / K


def test_recall_is_the_share_that_a_look_at_everything_finds_as_well() -> None:
    index = live()
    queries = [asked(index, seed) for seed in range(40)]
    shares = [recall(one) for one in queries]
    assert shares == pytest.approx([slow_recall(one) for one in queries])
    assert 0 < np.mean(shares) < 1


def test_one_query_of_so_many_is_looked_at_in_another_thread() -> None:
    told: list[tuple[str, float, str]] = []
    heard = threading.Event()

    def observe(type: str, share: float) -> None:
        told.append((type, share, threading.current_thread().name))
        heard.set()

    watch, index = RecallWatch(observe, every=10), live()
    queries = [asked(index, seed) for seed in range(20)]
    for number, one in enumerate(queries):
        watch.offer(one)
        if number % 10 == 0:
            assert heard.wait(10)
            heard.clear()
    watch.close()
    assert told == [("hnsw", recall(queries[at]), "recall") for at in (0, 10)]


def test_what_is_exact_or_found_nothing_is_not_looked_at() -> None:
    told: list[float] = []
    watch = RecallWatch(lambda _, share: told.append(share), every=1)
    none = np.empty((0, DIMENSION), dtype=np.float32)
    flat = LiveIndex.over(Main(index=VectorIndex.build(none, []), columns=Columns(0)))
    watch.offer(asked(flat, 0))
    nobody = Condition(comparator=Comparator.EXISTS, key="color", value=True)
    watch.offer(asked(live(), 0, filter=nobody))
    time.sleep(0.05)
    watch.close()
    assert told == []
