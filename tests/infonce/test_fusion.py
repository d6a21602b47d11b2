"""Two rankings become one as the formulas say, and neither side can hide what the other found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infonce.fusion import Fusion, FusionMethod, fuse

DENSE = {"a": 0.9, "b": 0.5, "c": 0.1}
WORDS = {"c": 8.0, "d": 4.0}
RANKINGS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 9), max_size=8).map(
    lambda scores: dict(sorted(scores.items(), key=lambda pair: -pair[1]))
)


def test_reciprocal_ranks_add_up() -> None:
    assert fuse(DENSE, WORDS, fusion=Fusion(method=FusionMethod.RRF)) == [
        ("c", pytest.approx(1 / 63 + 1 / 61)),
        ("a", pytest.approx(1 / 61)),
        ("b", pytest.approx(1 / 62)),
        ("d", pytest.approx(1 / 62)),
    ]


def test_weights_are_the_share_of_the_dense_side() -> None:
    fused = fuse(DENSE, WORDS, fusion=Fusion(weight=0.75))
    assert fused == [
        ("a", pytest.approx(0.75)),
        ("b", pytest.approx(0.375)),
        ("c", pytest.approx(0.25)),
        ("d", pytest.approx(0.125)),
    ]


def test_what_is_found_by_one_side_alone_has_that_side_s_order() -> None:
    for fusion in (Fusion(), Fusion(method=FusionMethod.RRF)):
        assert [id for id, _ in fuse(DENSE, {}, fusion=fusion)] == ["a", "b", "c"]
        assert [id for id, _ in fuse({}, WORDS, fusion=fusion)] == ["c", "d"]
        assert fuse({}, {}, fusion=fusion) == []


def test_equal_scores_of_the_dense_side_are_all_the_highest() -> None:
    fused = fuse({"a": 0.5, "b": 0.5}, {}, fusion=Fusion(weight=1.0))
    assert fused == [("a", 1.0), ("b", 1.0)]


@given(
    RANKINGS,
    RANKINGS,
    st.sampled_from([Fusion(method=FusionMethod.RRF), *(Fusion(weight=w) for w in (0, 1, 0.3))]),
)
def test_every_document_of_either_side_is_there_once_best_first(
    dense: dict[str, float], words: dict[str, float], fusion: Fusion
) -> None:
    fused = fuse(dense, words, fusion=fusion)
    assert {id for id, _ in fused} == dense.keys() | words.keys() and len(fused) == len(dense.keys() | words.keys())
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)
    assert all(0 <= score <= 1 for _, score in fused)
