"""The numbers are trec_eval's."""

import pytest
import pytrec_eval
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infonce.errors import ConfigError
from infonce.metrics import Qrels, Run, evaluate_run, mean, ranked

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=300)
KS = (1, 3, 5, 10, 50)
DOCUMENTS = [f"d{number}" for number in range(12)] + ["D", "é", "😀", "d1x"]
GRADES = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-2, 4)).filter(
    lambda grades: not grades or max(grades.values()) >= 0  # else trec_eval writes outside of its own memory
)
SCORES = st.dictionaries(
    st.sampled_from(DOCUMENTS),
    st.integers(-2, 2).map(float) | st.floats(-1, 1) | st.sampled_from([0.1, 0.1 + 1e-12]),
)


def trec_eval(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """What trec_eval says, in our keys; reciprocal rank cut at k is that of the run cut at k."""
    cuts = ",".join(map(str, KS))
    measures = {f"ndcg_cut.{cuts}", f"recall.{cuts}", f"map_cut.{cuts}", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    return {
        query: {
            key: value
            for k in KS
            for key, value in (
                (f"ndcg@{k}", values[f"ndcg_cut_{k}"]),
                (f"mrr@{k}", values["recip_rank"] if values["recip_rank"] >= 1 / k else 0.0),
                (f"recall@{k}", values[f"recall_{k}"]),
                (f"map@{k}", values[f"map_cut_{k}"]),
            )
        }
        for query, values in found.items()
    }


@UNHURRIED
@given(st.dictionaries(st.sampled_from("abc"), GRADES), st.dictionaries(st.sampled_from("abcd"), SCORES))
def test_every_number_equals_trec_eval(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> None:
    ours, theirs = evaluate_run(qrels, run, ks=KS), trec_eval(qrels, run)
    assert ours.keys() == theirs.keys()
    for query, values in theirs.items():
        assert ours[query] == pytest.approx(values, abs=1e-9)


def test_equal_scores_rank_by_descending_id() -> None:
    assert ranked({"a": 0.5, "c": 0.5, "b": 0.5, "d": 0.1}) == ["c", "b", "a", "d"]


def test_scores_that_float32_cannot_tell_apart_are_equal() -> None:
    assert ranked({"a": 1.0 + 1e-9, "b": 1.0}) == ["b", "a"]
    assert ranked({"a": 1.0 + 1e-6, "b": 1.0}) == ["a", "b"]


def test_queries_without_judgements_or_without_a_run_are_left_out() -> None:
    found = evaluate_run({"a": {"d": 1}, "b": {}, "c": {"d": 1}}, {"a": {}, "b": {"d": 1.0}, "x": {"d": 1.0}}, ks=(1,))
    assert found == {"a": {"ndcg@1": 0.0, "mrr@1": 0.0, "recall@1": 0.0, "map@1": 0.0}}


def test_a_query_without_a_relevant_document_scores_nothing() -> None:
    found = evaluate_run({"a": {"d": -2}, "b": {"d": 0}}, {"a": {"d": 1.0}, "b": {"d": 1.0}}, ks=(1,))
    assert [set(values.values()) for values in found.values()] == [{0.0}, {0.0}]


def test_the_mean_is_over_queries() -> None:
    assert mean({"a": {"mrr@1": 1.0}, "b": {"mrr@1": 0.5}}) == {"mrr@1": 0.75}
    assert mean({}) == {}


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_a_rank_below_one_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match="ks is"):
        evaluate_run({}, {}, ks=[k])
