"""Every pair comes once an epoch, in an order that is a function of the seed; known positives are never negatives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infonce.batches import Batch, PairTable, batch_rows, num_batches
from infonce.config import Prompts
from infonce.loss_config import LossConfig, Negatives
from infonce.pairs import Pair

TEXTS = st.sampled_from("abcdefg")
PAIRS = st.lists(
    st.builds(Pair, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple)),
    min_size=1,
    max_size=12,
)


@given(num_pairs=st.integers(2, 300), size=st.integers(2, 80), epoch=st.integers(0, 3))
def test_an_epoch_holds_every_pair_once_in_batches_of_nearly_one_size(num_pairs: int, size: int, epoch: int) -> None:
    batches = [
        batch_rows(num_pairs, size, seed=7, epoch=epoch, batch=number) for number in range(num_batches(num_pairs, size))
    ]
    assert sorted(np.concatenate(batches)) == list(range(num_pairs))
    assert max(map(len, batches)) <= size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_epochs_and_seeds_differ_and_a_batch_can_be_asked_for_out_of_order() -> None:
    def batch(seed: int, epoch: int) -> list[int]:
        return batch_rows(100, 10, seed=seed, epoch=epoch, batch=3).tolist()

    first = batch(1, 0)
    assert first != batch(1, 1)
    assert first != batch(2, 0)
    assert first == batch(1, 0)


def dense(batch: Batch, num_rows: int, num_columns: int) -> np.ndarray:
    """The mask whole."""
    mask = np.zeros((num_rows, num_columns), dtype=bool)
    mask[tuple(batch.also_positive)] = True
    assert mask.sum() == batch.also_positive.shape[1], "no place stands twice"
    return mask


def texts_at(table: PairTable, batch: Batch, positions: np.ndarray, prompt: str = "") -> list[str]:
    return [table.rows[batch.rows[position]].removeprefix(prompt) for position in positions]


@given(
    pairs=PAIRS,
    prompts=st.sampled_from([Prompts(), Prompts(query="q: ", document="d: ")]),
    negatives=st.sampled_from([Negatives.SHARED, Negatives.UNPAIRED]),
)
def test_the_mask_equals_a_look_at_every_pair_of_texts(
    pairs: list[Pair], prompts: Prompts, negatives: Negatives
) -> None:
    table = PairTable.build(pairs, prompts=prompts, max_negatives=2)
    batch = table.batch(np.arange(len(pairs)), loss=LossConfig(negatives=negatives))
    candidates = texts_at(table, batch, np.concatenate([batch.positives, batch.negatives]), prompts.document)
    mask = dense(batch, len(pairs), len(candidates))
    known = {(pair.anchor, pair.positive) for pair in pairs}
    for i, pair in enumerate(pairs):
        for c, text in enumerate(candidates):
            right = (pair.anchor, text) in known or text == pair.anchor
            assert mask[i, c] == (right and c != i)


@given(pairs=PAIRS)
def test_paired_negatives_are_each_anchors_own_and_what_fills_a_row_is_masked(pairs: list[Pair]) -> None:
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=3)
    batch = table.batch(np.arange(len(pairs)), loss=LossConfig(negatives=Negatives.PAIRED))
    size, width = batch.negatives.shape
    mask = dense(batch, size, size + width)
    known = {(pair.anchor, pair.positive) for pair in pairs}
    assert width == max(len(pair.negatives) for pair in pairs)
    for i, pair in enumerate(pairs):
        texts = texts_at(table, batch, batch.negatives[i])
        assert texts[: len(pair.negatives)] == list(pair.negatives)
        wrong = [(pair.anchor, text) in known or text == pair.anchor for text in pair.negatives]
        assert mask[i, size:].tolist() == wrong + [True] * (width - len(wrong))
        assert not mask[i, i]


@given(pairs=PAIRS, num_views=st.integers(2, 4))
def test_views_alternate_and_things_that_share_a_text_or_an_answer_are_masked(
    pairs: list[Pair], num_views: int
) -> None:
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=0)
    batch = table.batch(np.arange(len(pairs)), loss=LossConfig(num_views=num_views))
    size = len(pairs)
    mask = dense(batch, num_views * size, num_views * size).reshape(num_views, size, num_views, size)
    known = {(pair.anchor, pair.positive) for pair in pairs}
    for v, view in enumerate(batch.views):
        assert texts_at(table, batch, view) == [pair.positive if v % 2 else pair.anchor for pair in pairs]
    for i, one in enumerate(pairs):
        for j, other in enumerate(pairs):
            crossed = {(a, b) for a in (one.anchor, one.positive) for b in (other.anchor, other.positive)}
            alike = any(a == b or (a, b) in known or (b, a) in known for a, b in crossed)
            assert (mask[:, i, :, j] == (alike and i != j)).all()


@given(pairs=PAIRS)
def test_each_distinct_text_is_encoded_once_and_found_again(pairs: list[Pair]) -> None:
    batch = PairTable.build(pairs, prompts=Prompts(), max_negatives=3).batch(np.arange(len(pairs)))
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=3)
    rows = [table.rows[row] for row in batch.rows]
    assert len(set(rows)) == len(rows)
    assert [rows[position] for position in batch.anchors] == [pair.anchor for pair in pairs]
    assert [rows[position] for position in batch.positives] == [pair.positive for pair in pairs]
    negatives = [rows[position] for position in batch.negatives]
    given = {text for pair in pairs for text in pair.negatives}
    assert sorted(negatives) == sorted(given - {pair.positive for pair in pairs})


def test_no_more_negatives_than_asked_for_are_taken_in_their_order() -> None:
    table = PairTable.build([Pair("a", "b", ("x", "y", "z"))], prompts=Prompts(), max_negatives=2)
    assert "z" not in table.rows
    assert {"x", "y"} <= set(table.rows)
