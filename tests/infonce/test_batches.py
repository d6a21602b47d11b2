"""Every pair comes once an epoch, in an order that is a function of the seed; known positives are never negatives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infonce.batches import PairTable, batch_rows, num_batches
from infonce.config import Prompts
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


@given(pairs=PAIRS, prompts=st.sampled_from([Prompts(), Prompts(query="q: ", document="d: ")]))
def test_the_mask_equals_a_look_at_every_pair_of_texts(pairs: list[Pair], prompts: Prompts) -> None:
    table = PairTable.build(pairs, prompts=prompts, max_negatives=2)
    batch = table.batch(np.arange(len(pairs)))
    rows = [table.rows[row] for row in batch.rows]
    candidates = [rows[position].removeprefix(prompts.document) for position in (*batch.positives, *batch.negatives)]
    known = {(pair.anchor, pair.positive) for pair in pairs}
    for i, pair in enumerate(pairs):
        for c, text in enumerate(candidates):
            right = (pair.anchor, text) in known or text == pair.anchor
            assert batch.also_positive[i, c] == (right and c != i)


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
