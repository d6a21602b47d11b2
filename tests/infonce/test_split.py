"""Neither a query nor a positive of the held-out side is trained on."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infonce.errors import ConfigError
from infonce.pairs import Pair
from infonce.split import MAX_SEARCHED, components, held_out, judged_by, text_key

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NODES = st.integers(0, 30).map(str)
EDGES = st.lists(st.tuples(NODES, NODES), max_size=40)


def pairs_of(count: int, *, shared: int = 1, seed: int = 0) -> list[Pair]:
    """Pairs of which every `shared` in a row have one positive."""
    made = [Pair(f"anchor {n}", f"positive {n // shared}", (f"negative {n % 7}",)) for n in range(count)]
    random.Random(seed).shuffle(made)
    return made


def slow_components(edges: list[tuple[str, str]]) -> set[frozenset[int]]:
    """Merge groups that share a node until none do."""
    groups = [({place}, {one, other}) for place, (one, other) in enumerate(edges)]
    merged = True
    while merged:
        merged = False
        for i, (places, nodes) in enumerate(groups):
            for other_places, other_nodes in groups[i + 1 :]:
                if nodes & other_nodes:
                    places |= other_places
                    nodes |= other_nodes
                    groups.remove((other_places, other_nodes))
                    merged = True
                    break
    return {frozenset(places) for places, _ in groups}


@UNHURRIED
@given(EDGES)
def test_components_are_the_groups_that_share_a_node(edges: list[tuple[str, str]]) -> None:
    assert {frozenset(places) for places in components(edges)} == slow_components(edges)


def test_a_long_chain_is_one_component() -> None:
    assert len(components([(str(n), str(n + 1)) for n in range(20_000)])) == 1


@UNHURRIED
@given(EDGES, st.floats(0.05, 0.9), st.integers(0, 5))
def test_nothing_leaks_and_nothing_is_lost(edges: list[tuple[str, str]], share: float, seed: int) -> None:
    pairs = [Pair(f"q {one}", f"P  {other}") for one, other in edges]
    try:
        train, judged = held_out(pairs, share, seed=seed)
    except ConfigError:
        return
    trained = {text_key(text) for pair in train for text in (pair.anchor, pair.positive)}
    relevant = {judged.corpus[document] for grades in judged.qrels.values() for document in grades}
    assert not trained & {text_key(text) for text in (*judged.queries.values(), *relevant)}
    assert set(judged.corpus.values()) == {pair.positive for pair in pairs}
    held = [pair for pair in pairs if pair.anchor in judged.queries.values()]
    assert [pair for pair in pairs if pair not in held] == train


def test_the_share_is_kept_where_components_allow_it() -> None:
    for shared in (1, 3):
        train, judged = held_out(pairs_of(600, shared=shared), 0.1, seed=4)
        assert (len(train), len(judged.queries)) == (540, 60)


def test_the_corpus_is_every_distinct_positive_and_negative_of_the_file() -> None:
    _, judged = held_out(pairs_of(60, shared=2), 0.1, seed=0)
    assert set(judged.corpus.values()) == {f"positive {n}" for n in range(30)} | {f"negative {n}" for n in range(7)}


def test_above_its_limit_the_corpus_is_a_seeded_sample_that_keeps_what_is_relevant() -> None:
    pairs = [Pair(f"anchor {n}", f"positive {n}") for n in range(MAX_SEARCHED + 500)]
    _, judged = held_out(pairs, 0.01, seed=3)
    assert len(judged.corpus) == MAX_SEARCHED and judged.drawn_from == len(pairs)
    for query, text in judged.queries.items():
        assert [judged.corpus[document] for document in judged.qrels[query]] == [text.replace("anchor", "positive")]
    assert held_out(pairs, 0.01, seed=3)[1] == judged


def test_all_known_positives_of_a_query_are_relevant() -> None:
    pairs = [Pair("q", "a"), Pair("Q ", "b"), Pair("q", "A"), *pairs_of(3)]
    judged = judged_by(pairs, [Pair("q", "c")], seed=0)
    [(query, grades)] = judged.qrels.items()
    assert judged.queries == {query: "q"}
    assert {judged.corpus[document] for document in grades} == {"a", "b", "c"}


def test_equal_seeds_give_equal_splits_and_others_do_not() -> None:
    pairs = pairs_of(200)
    assert held_out(pairs, 0.2, seed=1) == held_out(pairs, 0.2, seed=1)
    assert held_out(pairs, 0.2, seed=1)[0] != held_out(pairs, 0.2, seed=2)[0]


def test_a_component_larger_than_the_share_stays_in_training() -> None:
    pairs = [Pair(f"a {n}", "one for all") for n in range(90)] + pairs_of(10)
    for seed in range(20):
        assert len(held_out(pairs, 0.05, seed=seed)[0]) == 95


@pytest.mark.parametrize("pairs", [[], pairs_of(1), pairs_of(2), [Pair(f"a {n}", "b") for n in range(50)]])
def test_too_few_pairs_are_refused_with_numbers_and_remedy(pairs: list[Pair]) -> None:
    with pytest.raises(ConfigError, match=rf"held_out 0.5 of {len(pairs)} pairs leaves .* set it to 0"):
        held_out(pairs, 0.5, seed=0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_outside_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        held_out(pairs_of(10), share, seed=0)
