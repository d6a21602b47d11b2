"""Chunks hold every text once within the budget, and padded ids are the ids."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infonce.errors import InvalidModel
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
