"""An index of words scores as the formula says, comes back from its folder, and is refused where it is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from infonce.bm25 import Bm25Index, best, words_of
from infonce.errors import IndexCorrupt
from tests.infonce.slow_bm25 import mean_length, slow_bm25

TEXTS = ["the dog barks and barks", "a cat sleeps", "", "dogs and cats_and birds", "the the the", "größer dog", "— !"]
QUERIES = ["dog", "the dog and the cat", "barks barks barks", "Größer CATS", "zebra", "?"]


def ranked(texts: list[str], query: str) -> list[int]:
    scores = slow_bm25({str(n): text for n, text in enumerate(texts)}, query, mean=mean_length(texts))
    return [int(id) for id in sorted(scores, key=lambda id: (-scores[id], int(id)))]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("k", [1, 2, 20])
def test_the_best_are_those_of_the_formula(query: str, k: int) -> None:
    [found] = Bm25Index.build(TEXTS).search([query], k)
    assert [number for number in found.tolist() if number >= 0] == ranked(TEXTS, query)[:k]
    assert len(found) == min(k, len(TEXTS))


def test_a_name_is_its_parts_and_a_chinese_sign_is_a_word() -> None:
    assert words_of(["Read_File2 x", "東京 tower", ""]) == [["read", "file2", "x"], ["東", "京", "tower"], []]


def test_the_best_are_those_above_nought_and_equal_ones_stand_by_place() -> None:
    scores = np.array([0, 2, 1, 2, 0, 2], dtype=np.float32)
    assert [best(scores, k).tolist() for k in (1, 2, 4, 9)] == [[1], [1, 3], [1, 3, 5, 2], [1, 3, 5, 2]]
    assert best(scores[:0], 3).tolist() == []


@pytest.mark.parametrize("texts", [TEXTS, ["", "!"], []])
def test_what_is_loaded_is_what_was_saved(texts: list[str], tmp_path: Path) -> None:
    made = Bm25Index.build(texts)
    made.save(tmp_path / "words")
    loaded = Bm25Index.load(tmp_path / "words")
    assert np.array_equal(loaded.search(QUERIES, 5), made.search(QUERIES, 5))
    told = [(one.count, one.num_worded, one.mean_length) for one in (made, loaded)]
    assert told[0] == told[1] == (len(texts), sum(map(bool, words_of(texts))), mean_length(texts))


def test_a_folder_that_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    Bm25Index.build(TEXTS).save(tmp_path)
    facts, vocabulary = tmp_path / "words.json", tmp_path / "vocab.index.json"
    told, words = json.loads(facts.read_text()), json.loads(vocabulary.read_text())
    for wrong in ({"format": 2}, {"count": 8}, {"vocabulary": 3}, {"other": 1}):
        facts.write_text(json.dumps(told | wrong))
        with pytest.raises(IndexCorrupt, match="the words in"):
            Bm25Index.load(tmp_path)
    facts.write_text(json.dumps(told))
    vocabulary.write_text(json.dumps(words | {"more": 99}))
    with pytest.raises(IndexCorrupt, match="not of one index; rebuild"):
        Bm25Index.load(tmp_path)
    vocabulary.unlink()
    with pytest.raises(IndexCorrupt, match="No such file"):
        Bm25Index.load(tmp_path)
