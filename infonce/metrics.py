"""nDCG, MRR, recall and MAP of a run, as trec_eval defines them (github.com/usnistgov/trec_eval).

A run is query → document → score. Documents with equal scores rank by descending id. Scores are compared in float32,
as trec_eval holds them. A query is measured if it stands in the run and has judgements; one without a relevant
document scores 0 on everything.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import fmean

import numpy as np

from infonce.limits import check_whole

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]


def evaluate_run(qrels: Qrels, run: Run, *, ks: Sequence[int]) -> dict[str, dict[str, float]]:
    """Query → metric key → value, with `ndcg@k`, `mrr@k`, `recall@k` and `map@k` for each k.

    Raises:
        ConfigError: a k is not a whole number of at least 1.
    """
    for k in ks:
        check_whole("ks", k, low=1, high=1_000_000)
    return {
        query: _measure(grades, run[query], ks=ks) for query, grades in sorted(qrels.items()) if grades and query in run
    }


def mean(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Metric key → mean over the queries; empty if there are none."""
    rows = list(per_query.values())
    return {key: fmean(row[key] for row in rows) for key in rows[0]} if rows else {}


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first."""
    held = np.fromiter(scores.values(), dtype=np.float32, count=len(scores)).tolist()
    return [document for _, document in sorted(zip(held, scores, strict=True), reverse=True)]


def _measure(grades: Mapping[str, int], scores: Mapping[str, float], *, ks: Sequence[int]) -> dict[str, float]:
    gains = [max(grades.get(document, 0), 0) for document in ranked(scores)[: max(ks, default=0)]]
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    return {
        key: value
        for k in ks
        for key, value in (
            (f"ndcg@{k}", _ratio(_dcg(gains[:k]), _dcg(ideal[:k]))),
            (f"mrr@{k}", _reciprocal_rank(gains[:k])),
            (f"recall@{k}", _ratio(sum(gain > 0 for gain in gains[:k]), len(ideal))),
            (f"map@{k}", _ratio(_summed_precision(gains[:k]), len(ideal))),
        )
    }


def _dcg(gains: Sequence[int]) -> float:
    """Gain linear in the grade, discounted by log2(rank + 1): Järvelin and Kekäläinen 2002."""
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _reciprocal_rank(gains: Sequence[int]) -> float:
    return next((1 / rank for rank, gain in enumerate(gains, start=1) if gain > 0), 0.0)


def _summed_precision(gains: Sequence[int]) -> float:
    """The sum of the precision at the rank of each relevant document found."""
    found = accumulate(int(gain > 0) for gain in gains)
    return sum(num / rank for rank, (num, gain) in enumerate(zip(found, gains, strict=True), start=1) if gain > 0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
