"""What a chain of pairs joins is no negative of one another, unless that would cost a tenth of all negatives."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infonce.batches import PairTable
from infonce.config import Prompts
from infonce.groups import MAX_SHARE, groups_of
from infonce.loss_config import LossConfig, Negatives
from infonce.pairs import Pair
from tests.infonce.test_batches import dense, texts_at

NUM_TEXTS = 60
TEXTS = st.integers(0, NUM_TEXTS - 1).map(str)
PAIRS = st.lists(st.builds(Pair, TEXTS, TEXTS, st.lists(TEXTS, max_size=2).map(tuple)), min_size=1, max_size=30)


def reached(pairs: Sequence[Pair], text: str) -> set[str]:
    """Every text that a chain of pairs leads to, by looking again until nothing is added."""
    found = {text}
    while True:
        more = {t for pair in pairs for t in (pair.anchor, pair.positive) if {pair.anchor, pair.positive} & found}
        if more <= found:
            return found
        found |= more


def lost(pairs: Sequence[Pair]) -> float:
    """The part of the ordered couples of two different pairs whose texts a chain joins."""
    couples = list(permutations({(pair.anchor, pair.positive) for pair in pairs}, 2))
    return sum(other[0] in reached(pairs, one[0]) for one, other in couples) / max(1, len(couples))


@settings(deadline=None)
@given(pairs=PAIRS)
def test_groups_are_what_a_chain_reaches_and_nothing_where_they_are_too_large(pairs: list[Pair]) -> None:
    relation = np.unique(np.array([[int(p.anchor), int(p.positive)] for p in pairs]), axis=0).T
    found = groups_of(relation, num_texts=NUM_TEXTS)
    groups = found.of_text
    assert found.share == pytest.approx(lost(pairs))
    if lost(pairs) > MAX_SHARE:
        assert groups.tolist() == list(range(NUM_TEXTS))
        return
    for text in range(NUM_TEXTS):
        chained = {int(other) for other in reached(pairs, str(text))}
        several = len({(pair.anchor, pair.positive) for pair in pairs if int(pair.anchor) in chained}) > 1
        members = set(np.flatnonzero(groups == groups[text]).tolist())
        assert members == (chained if several else {text})
        assert groups[text] == min(members)


@pytest.mark.parametrize("negatives", [Negatives.SHARED, Negatives.UNPAIRED])
@settings(deadline=None)
@given(pairs=PAIRS)
def test_the_mask_has_what_a_chain_reaches_but_for_an_anchors_own_negatives(
    pairs: list[Pair], negatives: Negatives
) -> None:
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=2)
    batch = table.batch(np.arange(len(pairs)), loss=LossConfig(negatives=negatives))
    candidates = texts_at(table, batch, np.concatenate([batch.positives, batch.negatives]))
    mask = dense(batch, len(pairs), len(candidates))
    said = {(pair.anchor, pair.positive) for pair in pairs}
    grouped = lost(pairs) <= MAX_SHARE
    for row, pair in enumerate(pairs):
        likely = reached(pairs, pair.anchor) if grouped else {pair.anchor}
        for column, text in enumerate(candidates):
            own = column >= len(pairs) and text in pair.negatives
            right = (pair.anchor, text) in said or text == pair.anchor or (text in likely and not own)
            assert mask[row, column] == (right and column != row), (pair, text)


def intents(number: int, size: int) -> list[Pair]:
    """Pairs of two utterances of one intent, each utterance in two of them."""
    return [
        Pair(f"intent {one} says {place}", f"intent {one} says {(place + 1) % size}")
        for one in range(number)
        for place in range(size)
    ]


def test_utterances_of_one_intent_are_never_negatives_of_one_another() -> None:
    pairs = intents(20, 10)
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=0)
    batch = table.batch(np.arange(len(pairs)))
    mask = dense(batch, len(pairs), len(pairs))
    expected = np.kron(np.eye(20), np.ones((10, 10))).astype(bool) & ~np.eye(200, dtype=bool)
    assert (mask == expected).all()


def test_one_positive_that_answers_everything_takes_no_other_negative_away() -> None:
    pairs = [Pair(f"question {number}", "see the manual") for number in range(40)]
    pairs += [Pair(f"question {number}", f"answer {number}") for number in range(40)]
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=0)
    batch = table.batch(np.arange(40, 80))
    assert batch.also_positive.shape == (2, 0)


def test_it_is_said_what_hangs_together_and_what_that_costs() -> None:
    table = PairTable.build(intents(20, 10), prompts=Prompts(), max_negatives=0)
    assert str(table.groups) == (
        "pairs that a chain of shared texts joins form 20 groups, the largest of 10; none of their texts is a negative "
        "of another (4.52% of the in-batch negatives)"
    )
    few = PairTable.build(intents(3, 10), prompts=Prompts(), max_negatives=0).groups
    assert few.to_dict() == {"num": 3, "largest": 10, "share": pytest.approx(9 / 29), "used": False}
    assert str(few).endswith("that would cost 31% of the in-batch negatives, so that only the pairs count")
