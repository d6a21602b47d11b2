"""An encoder, a corpus and judged queries become a run and its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infonce.config import Side
from infonce.errors import Stopped
from infonce.index import QUERIES_AT_ONCE, Hits, VectorIndex
from infonce.metrics import evaluate_run, mean
from infonce.qrels import EvalSet
from infonce.vectors import TextEncoder

_TIES = 10  # ranks below the cut that may tie with it; metrics break ties by document id, FAISS by position


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How well an encoder finds what was judged."""

    metrics: dict[str, float]
    per_query: dict[str, dict[str, float]]
    run: dict[str, dict[str, float]]
    """Query → document → score, of the first ranks alone, best first."""
    num_documents: int
    num_queries: int
    drawn_from: int | None = None
    """The number of documents of which those that were searched are a sample, if they are one."""


def evaluate(
    encoder: TextEncoder, judged: EvalSet, *, ks: Sequence[int], stop: Callable[[], bool] = lambda: False
) -> Evaluation:
    """Search every judged query in the whole corpus, exactly, and score the ranks up to `max(ks)`.

    Raises:
        Stopped: `stop()` was true between two blocks of queries.
    """
    documents = list(judged.corpus)
    queries = [query for query in judged.queries if query in judged.qrels]
    corpus_vectors = encoder.encode([judged.corpus[name] for name in documents], side=Side.DOCUMENT)
    query_vectors = encoder.encode([judged.queries[name] for name in queries], side=Side.QUERY)
    index = VectorIndex.build(corpus_vectors, documents)
    found: list[Hits] = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        if stop():
            raise Stopped("stopped while searching")
        found += index.search(query_vectors[start : start + QUERIES_AT_ONCE], max(ks) + _TIES)
    run = {query: dict(zip(hits.ids, hits.scores, strict=True)) for query, hits in zip(queries, found, strict=True)}
    per_query = evaluate_run(judged.qrels, run, ks=ks)
    return Evaluation(
        metrics=mean(per_query),
        per_query=per_query,
        run=run,
        num_documents=len(documents),
        num_queries=len(queries),
        drawn_from=judged.drawn_from,
    )
