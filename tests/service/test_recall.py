"""The recall of an approximate index is what a look at everything says, on some of the queries that it answers."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from infonce.columns import Columns
from infonce.filters import Comparator, Condition, Filter
from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType
from infonce.live_index import Change, LiveIndex, Main
from service.recall import Asked, RecallWatch, recall
from service.schemas.collections import CollectionQuery, Hybrid
from service.schemas.filters import DocumentFilter
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import Gateway
from tests.service.test_collections import PETS, build, make, put
from tests.service.test_live_documents import another

COUNT, DIMENSION, K = 3_000, 16, 10


def live(**config: int) -> LiveIndex:
    """Directions in an index that follows few of its links, and some that were written since."""
    vectors = np.random.default_rng(0).normal(size=(COUNT + 50, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    usual = {"exact_up_to": 0, "effort": 1, "refine": 1, "links": 4}
    settings = IndexConfig(type=IndexType.HNSW, **(usual | config))
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


def parity(count: int) -> Columns:
    return Columns.build([{"parity": row % 2, "rare": row % 300 == 0} for row in range(count)])


def test_what_a_filter_leaves_few_of_is_compared_in_full_and_says_nothing_of_the_index() -> None:
    index = live(exact_up_to=100)
    index = replace(index, main=replace(index.main, columns=parity(COUNT)))
    told: list[float] = []
    watch = RecallWatch(lambda _, share: told.append(share), every=1)
    for key, value, is_looked_at in (("rare", True, False), ("parity", 1, True), ("parity", 3, False)):
        one = asked(index, 0, filter=Condition(comparator=Comparator.EQ, key=key, value=value))
        assert one.hits.is_exact is not is_looked_at
        watch.offer(one)
    watch.close()
    assert len(told) == 1


def test_an_index_that_finds_too_few_looks_exactly_and_says_so() -> None:
    vectors = np.random.default_rng(0).normal(size=(COUNT, DIMENSION)).astype(np.float32)
    config = IndexConfig(type=IndexType.IVF_SQ8, exact_up_to=0, refine=1, probes=1)
    index = VectorIndex.build(vectors, [str(row) for row in range(COUNT)], config=config)
    assert {hits.is_exact for hits in index.search(vectors[:20], 1)} == {False}
    assert {hits.is_exact for hits in index.search(vectors[:20], 1, exact=True)} == {True}
    found = index.search(vectors[:20], 200)
    assert {hits.is_exact for hits in found} == {True}  # no list has so many
    assert {len(hits.ids) for hits in found} == {200}


class Counting(RecallWatch):
    """Remembers who was offered."""

    def __init__(self) -> None:
        super().__init__(lambda _type, _share: None)
        self.offered: list[Asked] = []

    def offer(self, asked: Asked) -> None:
        self.offered.append(asked)


def test_each_query_of_a_call_may_be_looked_at_but_hybrid_ones(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, PETS)
    build(gateway)
    watch = Counting()
    search = another(gateway, recall=watch)
    year = DocumentFilter(type="exists", key="year")
    alone = [CollectionQuery(query=text) for text in ("dog", "cat", "bird")]
    more = [CollectionQuery(query="dog", k=2, filter=year), CollectionQuery(query="a dog", hybrid=Hybrid())]
    search.query(DEFAULT_PROJECT, "pets", asked=CollectionQuery(queries=[*alone, *more]))
    assert [one.k for one in watch.offered] == [10, 10, 10, 2]
    assert len({one.vector.tobytes() for one in watch.offered[:3]}) == 3
