"""The words of an index with what was written since answer as if all texts that can be found were scored one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from infonce.bm25 import Bm25Index
from infonce.columns import Columns
from infonce.filters import Comparator, Condition
from infonce.index import Hits, VectorIndex
from infonce.live_index import Change, LiveIndex, Main
from infonce.live_words import LiveWords
from tests.infonce.slow_bm25 import mean_length, slow_bm25

VECTOR = np.array([1.0, 0.0], dtype=np.float32)
IDS = st.integers(0, 9).map(lambda number: f"doc {number}")
TEXTS = st.lists(st.sampled_from(["dog", "cat", "bird", "the", "the", "größe_ü"]), max_size=6).map(" ".join)
LANGS = st.sampled_from(["en", "de"])


def live_of(documents: dict[str, tuple[str, dict[str, Any]]]) -> tuple[LiveIndex, LiveWords]:
    vectors = np.tile(VECTOR, (len(documents), 1)).astype(np.float32).reshape(-1, 2)
    columns = Columns.build([metadata for _, metadata in documents.values()])
    live = LiveIndex.over(Main(index=VectorIndex.build(vectors, list(documents)), columns=columns))
    return live, LiveWords(main=Bm25Index.build([text for text, _ in documents.values()]))


class AgainstTheFormula(RuleBasedStateMachine):
    """Upserts, deletions, compactions and another reader that begins in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, tuple[str, dict[str, Any]]] = {}
        self.main: dict[str, tuple[str, dict[str, Any]]] = {}
        self.live, self.words = live_of({})

    @rule(ids=st.lists(IDS, max_size=4, unique=True), text=TEXTS, lang=LANGS)
    def upsert(self, ids: list[str], text: str, lang: str) -> None:
        written = {id: (f"{text} {id}", {"lang": lang}) for id in ids}
        self.documents = {id: told for id, told in self.documents.items() if id not in written} | written
        self.live = self.live.with_changes([Change(id=i, vector=VECTOR, metadata=m) for i, (_, m) in written.items()])

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        self.live = self.live.with_changes([Change(id=id, vector=None)])
        self.documents.pop(id, None)

    @rule()
    def compact(self) -> None:
        self.live, self.words = live_of(self.documents)
        self.main = dict(self.documents)

    @rule()
    def open_anew(self) -> None:
        self.live, self.words = live_of(self.main)
        gone = [Change(id=id, vector=None) for id in self.main if id not in self.documents]
        newer = [(id, told) for id, told in self.documents.items() if self.main.get(id) is not told]
        changes = [*gone, *(Change(id=id, vector=VECTOR, metadata=metadata) for id, (_, metadata) in newer)]
        self.live = self.live.with_changes(changes)

    @rule(text=TEXTS, number=st.integers(0, 9), k=st.integers(1, 12), lang=st.none() | LANGS)
    def query(self, text: str, number: int, k: int, lang: str | None) -> None:
        self.keep_up()
        asked = None if lang is None else Condition(comparator=Comparator.EQ, key="lang", value=lang)
        [hits] = self.words.search([f"{text} {number}"], k, live=self.live, asked=asked)
        texts = {id: text for id, (text, _) in self.documents.items()}
        made_of = [text for text, _ in self.main.values()] or list(texts.values())
        right = slow_bm25(texts, f"{text} {number}", mean=mean_length(made_of))
        right = {id: score for id, score in right.items() if lang in (None, self.documents[id][1]["lang"])}
        assert len(set(hits.ids)) == len(hits.ids) == min(k, len(right))
        np.testing.assert_allclose(hits.scores, sorted(right.values(), reverse=True)[:k], rtol=1e-5)
        np.testing.assert_allclose(hits.scores, [right[id] for id in hits.ids], rtol=1e-5)

    def keep_up(self) -> None:
        missing = self.live.newer.ids[len(self.words.newer) :]
        self.words.newer.add([self.documents[id][0] if id in self.documents else "" for id in missing])


TestAgainstTheFormula = AgainstTheFormula.TestCase
TestAgainstTheFormula.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_search_goes_on_in_the_state_that_it_began_in() -> None:
    old, words = live_of({"a": ("dog", {})})
    words.newer.add([])
    new = old.with_changes([Change(id="b", vector=VECTOR), Change(id="a", vector=None)])
    words.newer.add(["dog dog"])
    found = [words.search(["dog"], 5, live=live)[0] for live in (old, new)]
    assert [hits.ids for hits in found] == [("a",), ("b",)]


@pytest.mark.parametrize(("texts", "newer", "wordless"), [([""], [], True), ([], ["!"], True), ([""], ["a"], False)])
def test_documents_without_words_are_known_as_such(texts: list[str], newer: list[str], wordless: bool) -> None:
    live, words = live_of({f"d{n}": (text, {}) for n, text in enumerate(texts)})
    live = live.with_changes([Change(id=f"n{n}", vector=VECTOR) for n in range(len(newer))])
    words.newer.add(newer)
    assert words.is_wordless(live) is wordless
    later = live.with_changes([Change(id=f"n{n}", vector=None) for n in range(len(newer))])
    assert words.is_wordless(later)
    assert words.search(["zebra"], 3, live=live) == [Hits((), ())]
