"""Chunks hold every text once within the budget, and padded ids are the ids."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infonce.errors import DatasetError, InvalidModel
from infonce.tokens import chunks, load_tokenizer, tokenize
from tests.factories import sentences, tiny_model


@given(lengths=st.lists(st.integers(0, 50), max_size=60), budget=st.integers(1, 200))
def test_chunks_hold_every_text_once_longest_first_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, dtype=np.int64)
    found = list(chunks(array, budget))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    flat = [lengths[row] for rows in found for row in rows]
    assert flat == sorted(flat, reverse=True)
    assert all(len(rows) * max(lengths[row] for row in rows) <= budget or len(rows) == 1 for rows in found)


@given(lengths=st.lists(st.integers(0, 9), max_size=60), budget=st.integers(1, 50))
def test_chunks_without_padding_hold_every_text_once_and_texts_of_one_length(lengths: list[int], budget: int) -> None:
    found = list(chunks(np.array(lengths, dtype=np.int64), budget, padding=False))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    assert all(len({lengths[row] for row in rows}) == 1 for rows in found)


def test_many_characters_are_tokenised_as_the_texts_are_one_by_one(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path / "model"))
    texts = ["", "red cat " * 70_000, "blue", "green dog " * 60_000, " " * 1_000_000 + "bird", "\0", *sentences(3)]
    together = tokenize(tokenizer, texts, max_length=9)
    alone = [tokenize(tokenizer, [text], max_length=9).ids for text in texts]
    np.testing.assert_array_equal(together.ids, np.concatenate(alone))
    assert together.lengths.tolist() == [len(ids) for ids in alone]
    assert alone[4].tolist() == tokenizer.encode("bird").ids  # a cut of the characters would have lost it


def test_a_lone_surrogate_is_refused_by_its_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path / "model"))
    with pytest.raises(DatasetError, match=r"text 2 of 3 has a lone surrogate \(U\+D800\) at character 5 "):
        tokenize(tokenizer, ["red", "cat \ud800", "dog"], max_length=9)


def test_padded_ids_equal_the_tokenizer_text_by_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path / "model"))
    texts = sentences(20)
    tokens = tokenize(tokenizer, texts, max_length=9)
    rows = np.array([3, 0, 17])
    ids, mask = tokens.padded(rows, pad_id=0)
    for row, line, real in zip(rows, ids, mask, strict=True):
        assert line[real].tolist() == tokenizer.encode(texts[row]).ids
        assert not line[~real].any()
    assert tokens.lengths.max() == 9


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidModel, match=r"tokenizer\.json cannot be read"):
        load_tokenizer(tmp_path)
