"""Halves of judged queries share nothing, and a sample keeps every document that is judged."""

import pytest

from infonce.halves import MAX_DOCUMENTS, MAX_QUERIES, halves, restricted, sampled
from infonce.qrels import EvalSet
from infonce.split import held_out
from tests.factories import toy_pairs


def chained(count: int) -> EvalSet:
    """Queries of which each third shares its document with the next one, and documents that nobody judged."""
    corpus = {f"d{place}": f"text {place}" for place in range(3 * count)}
    qrels = {f"q{place}": {f"d{place - place % 3 // 2}": 1} for place in range(count)}
    return EvalSet(corpus=corpus, queries={query: query for query in qrels}, qrels=qrels)


@pytest.mark.parametrize("judged", [chained(60), held_out(toy_pairs(200), 0.5, seed=3)[1]], ids=["chained", "split"])
def test_halves_are_even_share_no_document_and_are_equal_for_equal_seeds(judged: EvalSet) -> None:
    first, second = halves(judged, seed=1)
    assert first | second == set(judged.qrels) and not first & second
    assert abs(len(first) - len(second)) <= 2
    documents = [{name for query in half for name in judged.qrels[query]} for half in (first, second)]
    assert not documents[0] & documents[1]
    assert halves(judged, seed=1) == (first, second) != halves(judged, seed=2)


def test_queries_that_share_their_document_stay_together() -> None:
    queries = {f"q{place}": f"query {place}" for place in range(20)}
    judged = EvalSet(corpus={"d": "one class"}, queries=queries, qrels={query: {"d": 1} for query in queries})
    assert halves(judged, seed=1) == (set(queries), set())


def test_a_restricted_set_searches_the_whole_corpus() -> None:
    part = restricted(chained(9), {"q1", "q2"})
    assert (set(part.queries), set(part.qrels), len(part.corpus)) == ({"q1", "q2"}, {"q1", "q2"}, 27)


def test_a_sample_is_bounded_seeded_and_keeps_what_is_judged() -> None:
    part = sampled(chained(1_200), seed=7)
    assert (len(part.queries), len(part.corpus)) == (MAX_QUERIES, MAX_DOCUMENTS)
    assert {name for grades in part.qrels.values() for name in grades} <= part.corpus.keys()
    assert part.digest == sampled(chained(1_200), seed=7).digest != sampled(chained(1_200), seed=8).digest


def test_a_small_set_is_its_own_sample() -> None:
    assert sampled(chained(30), seed=7) == chained(30)
