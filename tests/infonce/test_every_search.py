"""Any filter over any type of index, beside any later writes: what is found is what a walk over all documents finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infonce.columns import Columns
from infonce.filters import Comparator, Condition, Filter
from infonce.index import _COPIED_ROWS, Hits, VectorIndex
from infonce.index_config import IndexConfig, IndexType
from infonce.live_index import Change, LiveIndex, Main
from tests.infonce.test_columns import FILTERS, METADATA, passes

COUNT, NEWER = 4_000, 400
DIMENSION, PREFIX = 32, 16
NARROW = 250
"""So few documents behind a filter are compared with one another, whatever the index is."""
QUERIES = 12
RIGHT = 0.97

Vectors = NDArray[np.float32]
_LOOSE: dict[str, Any] = {"exact_up_to": NARROW, "links": 8, "effort": 48, "probes": 12}
"""Of an index of a few thousand vectors, of which otherwise hardly any filter would leave enough to be approximate."""
TYPES = {
    "flat": IndexConfig(type=IndexType.FLAT),
    "hnsw": IndexConfig(type=IndexType.HNSW, **_LOOSE),
    "ivf_sq8": IndexConfig(type=IndexType.IVF_SQ8, **_LOOSE),
    "ivf_pq": IndexConfig(type=IndexType.IVF_PQ, refine=20, **_LOOSE),
    "hnsw of a prefix": IndexConfig(type=IndexType.HNSW, prefix=PREFIX, **_LOOSE),
    "ivf_sq8 of a prefix": IndexConfig(type=IndexType.IVF_SQ8, prefix=PREFIX, **_LOOSE),
}
CONFIGS = [pytest.param(name, id=name.replace(" ", "_")) for name in TYPES]


def vectors_of(count: int, *, seed: int) -> Vectors:
    """Clustered unit vectors whose first dimensions say most, as those of a Matryoshka model do."""
    draw = np.random.default_rng(seed)
    weights = 0.9 ** np.arange(DIMENSION)
    centres = np.random.default_rng(1).normal(size=(60, DIMENSION))
    found = (centres[draw.integers(0, 60, count)] + 0.6 * draw.normal(size=(count, DIMENSION))) * weights
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


VECTORS = vectors_of(COUNT + NEWER, seed=0)
ASKED = vectors_of(QUERIES, seed=2)


@dataclass(frozen=True, kw_only=True)
class Write:
    """A document as it is written later, or its deletion."""

    id: str
    row: int | None
    """Of `VECTORS`."""
    kind: int
    """Which metadata it has."""


@cache
def index_of(name: str) -> VectorIndex:
    """Over the first documents."""
    return VectorIndex.build(VECTORS[:COUNT], [f"d{row}" for row in range(COUNT)], config=TYPES[name])


def writes(num: int, *, num_kinds: int, seed: int) -> list[Write]:
    """So many: new documents, replaced and deleted ones, some of them more than once."""
    draw = np.random.default_rng(seed)
    made = []
    for row in range(COUNT, COUNT + num):
        id = f"d{draw.integers(0, COUNT + NEWER)}" if draw.random() < 0.7 else f"d{row}"
        made.append(Write(id=id, row=None if draw.random() < 0.4 else row, kind=int(draw.integers(num_kinds))))
    return made


@pytest.mark.parametrize("name", CONFIGS)
@given(
    kinds=st.lists(METADATA, min_size=8, max_size=16),
    asked=FILTERS | st.none(),
    num=st.sampled_from([0, 1, 60, NEWER]),
    k=st.sampled_from([1, 10, 40]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=50)
def test_every_filter_over_every_type_beside_later_writes_finds_what_a_walk_finds(
    name: str, kinds: list[dict[str, Any]], asked: Filter | None, num: int, k: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    first = draw.choice(len(kinds), size=COUNT, p=draw.dirichlet(np.full(len(kinds), 0.5)))
    later = writes(num, num_kinds=len(kinds), seed=seed)
    main = Main(index=index_of(name), columns=Columns.build([kinds[kind] for kind in first]))
    live = LiveIndex.over(main).with_changes(
        Change(id=one.id, vector=None if one.row is None else VECTORS[one.row], metadata=kinds[one.kind])
        for one in later
    )
    documents = {f"d{row}": (row, int(kind)) for row, kind in enumerate(first)}
    for one in later:
        documents.pop(one.id, None)
        if one.row is not None:
            documents[one.id] = (one.row, one.kind)
    fits = [asked is None or passes(asked, kind) for kind in kinds]
    passing = {id: row for id, (row, kind) in documents.items() if fits[kind]}
    assert live.count == len(documents)
    assert asked is None or live.count_of(asked) == len(passing)
    for exact in (True, False):
        shares = right(live.search(ASKED, k, asked=asked, exact=exact), passing, k=k)
        is_exact = exact or live.main.index.is_exact or len(passing) <= NARROW
        assert min(shares) == 1.0 if is_exact else np.mean(shares) >= RIGHT, (exact, len(passing), shares)


def right(found: Sequence[Hits], passing: Mapping[str, int], *, k: int) -> list[float]:
    """Of each query the share of hits that are among the best; each has its own score and none is missing."""
    rows, shares = np.fromiter(passing.values(), dtype=np.int64, count=len(passing)), []
    for query, hits in zip(ASKED, found, strict=True):
        assert len(hits.ids) == len(set(hits.ids)) == min(k, len(passing))
        own = VECTORS[[passing[id] for id in hits.ids]] @ query  # a hit that does not pass has no row
        np.testing.assert_allclose(hits.scores, own, atol=1e-5)
        assert list(hits.scores) == sorted(hits.scores, reverse=True)
        worst = np.sort(VECTORS[rows] @ query)[::-1][: len(hits.ids)].min(initial=np.inf)
        shares.append(float(np.mean(own >= worst - 1e-5)) if hits.ids else 1.0)
    return shares


def test_a_filter_that_leaves_more_rows_than_are_copied_at_once_finds_what_a_walk_finds() -> None:
    count, dimension, k = _COPIED_ROWS + 15_000, 8, 200
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(count + 1, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    langs = draw.choice(["en", "de", "fr"], size=count, p=[0.9, 0.05, 0.05])
    columns = Columns.build([{"lang": lang} for lang in langs.tolist()])
    index = VectorIndex.build(vectors[:count], [str(row) for row in range(count)])
    gone = draw.choice(count, 300, replace=False)
    live = LiveIndex.over(Main(index=index, columns=columns)).with_changes(
        [
            *(Change(id=str(row), vector=None) for row in gone),
            Change(id=str(count), vector=vectors[count], metadata={"lang": "en"}),
        ]
    )
    allowed = np.append((langs == "en") & ~np.isin(np.arange(count), gone), True)
    assert np.count_nonzero(allowed) > _COPIED_ROWS + 1
    queries = np.concatenate([vectors[[count, count - 1, 7]], draw.normal(size=(5, dimension)).astype(np.float32)])
    asked = Condition(comparator=Comparator.EQ, key="lang", value="en")
    for query, hits in zip(queries, live.search(queries, k, asked=asked), strict=True):
        scores = np.where(allowed, vectors @ query, -np.inf)
        np.testing.assert_allclose(hits.scores, np.sort(scores)[::-1][:k], atol=1e-5)
        np.testing.assert_allclose(hits.scores, scores[[int(id) for id in hits.ids]], atol=1e-5)
        assert len(set(hits.ids)) == k
