"""Base against tuned model on every judged set: the numbers that decide, and what a person looks at beside them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from infonce.compare import changes, compare, histogram, intervals
from infonce.evaluation import Evaluation
from infonce.examples import examples
from infonce.qrels import EvalSet

METRIC: Final = "ndcg@10"
"""What decides the verdict."""

NUM_EXAMPLES: Final = 6
"""Of wins, of losses and of ties in a report."""

MAX_SHOWN_CHARACTERS: Final = 400
"""Of a text in a report: enough to judge by, and 2 sets with 18 examples of 6 texts each stay below half a megabyte."""


def summarize(before: Mapping[str, Evaluation], after: Mapping[str, Evaluation], *, seed: int) -> dict[str, Any]:
    """Base against tuned on every set; the first set's verdict is the job's, None where nothing was judged."""
    evaluations: list[dict[str, Any]] = []
    verdict: str | None = None
    for name, base in before.items():
        tuned = after[name]
        comparison = compare(base.per_query, tuned.per_query, metric=METRIC, seed=seed)
        verdict = verdict or comparison.verdict.value
        evaluations.append(
            {
                "name": name,
                "num_documents": base.num_documents,
                "drawn_from": base.drawn_from,
                "num_queries": base.num_queries,
                "small_corpus": base.num_documents < 10 * base.num_queries,
                "base": base.metrics,
                "tuned": tuned.metrics,
                "comparison": comparison.to_dict(),
            }
        )
    return {"metric": METRIC, "evaluations": evaluations, "verdict": verdict}


def compare_in_detail(
    before: Mapping[str, Evaluation],
    after: Mapping[str, Evaluation],
    *,
    judged: Mapping[str, EvalSet],
    seed: int,
) -> dict[str, Any]:
    """For every set the interval of each metric, how many queries gained how much, and wins, losses and ties."""
    found: dict[str, Any] = {}
    for name, base in before.items():
        tuned = after[name]
        shown = examples(base, tuned, judged=judged[name], metric=METRIC, count=NUM_EXAMPLES)
        found[name] = {
            "digest": judged[name].digest,
            "intervals": {
                metric: asdict(one) for metric, one in intervals(base.per_query, tuned.per_query, seed=seed).items()
            },
            "histogram": list(histogram(changes(base.per_query, tuned.per_query, metric=METRIC))),
            "examples": [example.cut(MAX_SHOWN_CHARACTERS).to_dict() for example in shown],
        }
    return found
