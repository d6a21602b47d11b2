"""An index with what was written since answers as if a plain dictionary were searched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infonce.columns import Columns
from infonce.errors import IndexCorrupt, IndexMismatch
from infonce.filters import Comparator, Condition
from infonce.id_table import IdTable
from infonce.index import VectorIndex
from infonce.live_index import COLUMNS_FILE, Change, LiveIndex, Main

DIMENSION = 6
IDS = st.integers(0, 12).map(lambda number: f"doc {number}")
LANGS = st.sampled_from(["en", "de", "fr"])


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def main_of(documents: dict[str, tuple[np.ndarray, dict[str, Any]]]) -> Main:
    vectors = np.array([vector for vector, _ in documents.values()], dtype=np.float32).reshape(-1, DIMENSION)
    index = VectorIndex.build(vectors, list(documents))
    return Main(index=index, columns=Columns.build([metadata for _, metadata in documents.values()]))


class AgainstADictionary(RuleBasedStateMachine):
    """Upserts, deletions and compactions in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
        self.live = LiveIndex.over(main_of({}))

    @rule(ids=st.lists(IDS, max_size=4), seed=st.integers(0, 50), lang=LANGS)
    def upsert(self, ids: list[str], seed: int, lang: str) -> None:
        written = [(id, unit(seed + place), {"lang": lang}) for place, id in enumerate(ids)]
        self.live = self.live.with_changes([Change(id=i, vector=v, metadata=m) for i, v, m in written])
        self.documents |= {id: (vector, metadata) for id, vector, metadata in written}

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        self.live = self.live.with_changes([Change(id=id, vector=None)])
        self.documents.pop(id, None)

    @rule()
    def compact(self) -> None:
        self.live = LiveIndex.over(main_of(self.documents))

    @rule(seed=st.integers(0, 50), k=st.integers(1, 15), lang=st.none() | LANGS)
    def query(self, seed: int, k: int, lang: str | None) -> None:
        asked = None if lang is None else Condition(comparator=Comparator.EQ, key="lang", value=lang)
        [hits] = self.live.search(unit(seed)[None], k, asked=asked)
        right = {i: float(v @ unit(seed)) for i, (v, m) in self.documents.items() if lang in (None, m["lang"])}
        assert len(hits.ids) == len(set(hits.ids)) == min(k, len(right))
        np.testing.assert_allclose(hits.scores, sorted(right.values(), reverse=True)[:k], atol=1e-5)
        np.testing.assert_allclose(hits.scores, [right[id] for id in hits.ids], atol=1e-5)

    @invariant()
    def every_document_has_its_vector_and_no_other_has_one(self) -> None:
        assert self.live.count == len(self.documents)
        for number in range(13):
            found, there = self.live.vector(f"doc {number}"), self.documents.get(f"doc {number}")
            assert (found is None) == (there is None) and (there is None or np.array_equal(found, there[0]))


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_search_goes_on_in_the_state_that_it_began_in() -> None:
    old = LiveIndex.over(main_of({"a": (unit(1), {})})).with_changes([Change(id="b", vector=unit(2))])
    new = old.with_changes([Change(id="c", vector=unit(3)), Change(id="a", vector=None)])
    assert {id for hits in old.search(unit(2)[None], 9) for id in hits.ids} == {"a", "b"}
    assert {id for hits in new.search(unit(2)[None], 9) for id in hits.ids} == {"b", "c"}
    assert (old.count, new.count) == (2, 2)


def test_a_main_index_comes_back_with_its_columns_or_is_refused(tmp_path: Path) -> None:
    main = main_of({"a": (unit(1), {"lang": "en"}), "b": (unit(2), {})})
    main.save(tmp_path)
    asked = Condition(comparator=Comparator.EQ, key="lang", value="en")
    assert Main.load(tmp_path).columns.mask(asked).tolist() == [True, False]
    main_of({"a": (unit(1), {})}).columns.save(tmp_path / COLUMNS_FILE)
    with pytest.raises(IndexCorrupt, match="not of this index"):
        Main.load(tmp_path)
    (tmp_path / COLUMNS_FILE).write_bytes(b"no columns")
    with pytest.raises(IndexCorrupt, match="cannot be read"):
        Main.load(tmp_path)
    (tmp_path / COLUMNS_FILE).unlink()
    assert Main.load(tmp_path).columns.by_key == {}  # as an earlier version wrote it


def test_a_vector_of_another_dimension_is_refused() -> None:
    with pytest.raises(IndexMismatch, match="6 dimensions, document 'x' has 5"):
        LiveIndex.over(main_of({})).with_changes([Change(id="x", vector=unit(0)[:5])])


class Counted(dict[str, Any]):
    """Metadata that counts how often all of it is read."""

    reads = 0

    def items(self) -> Any:
        Counted.reads += 1
        return super().items()


def test_after_each_write_a_filter_reads_what_was_written_and_nothing_again() -> None:
    asked = Condition(comparator=Comparator.EQ, key="even", value=True)
    states = [LiveIndex.over(main_of({"main": (unit(0), {"even": True})}))]
    found = []
    for start in range(0, 300, 100):
        rows = range(start, start + 100)
        written = [Change(id=str(n), vector=unit(n), metadata=Counted(even=n % 2 == 0)) for n in rows]
        states.append(states[-1].with_changes(written))
        found.append({id for hits in states[-1].search(unit(1)[None], 999, asked=asked) for id in hits.ids})
    assert Counted.reads == 300
    assert found == [{"main", *map(str, range(0, end, 2))} for end in (100, 200, 300)]
    states.append(states[-1].with_changes([Change(id="0", vector=None)]).with_changes([]))
    assert (states[-1].count_of(asked), states[2].count_of(asked), Counted.reads) == (150, 101, 300)


class Colliding(str):
    """A text whose hash is that of every other one."""

    def __hash__(self) -> int:
        return 7


@pytest.mark.parametrize("kind", [str, Colliding])
def test_every_id_leads_to_its_row_and_no_other_to_one(kind: type[str]) -> None:
    ids = [kind(f"id {number}") for number in range(200)] + [kind("")]
    table = IdTable(ids)
    assert [table.row(id) for id in ids] == list(range(len(ids)))
    assert table.row(kind("id 200")) is None and IdTable([]).row("id 0") is None
