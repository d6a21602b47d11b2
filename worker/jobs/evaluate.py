"""Models on judged queries, side by side; what became of each query is written down beside the numbers."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infonce.compare import Outcome, changes
from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.metrics import ranked
from infonce.qrels import EvalSet, read_beir
from infonce.side_by_side import Judged, Judging, SideBySide, side_by_side
from service.store.artifacts import queries_file
from service.store.records import Phase
from worker.jobs.embedding import serving_precision, use_threads
from worker.jobs.watching import Watching
from worker.progress import Progress

MAX_SHOWN_CHARACTERS: Final = 1_000
"""Of a text, in what is kept of a query: the whole text is in the file, under its id."""
_MAX_RELEVANT: Final = 3  # documents of a query that are shown, the best first
_SMALL: Final = 10  # documents a query below which every model looks good


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The numbers of all models; the values of every query are in the staging folder, a file an outcome."""
    use_threads(order["threads"])
    progress.phase(Phase.LOADING)
    judged = read_beir(Path(order["file"]["path"]))
    models = [(model["name"], Path(model["path"])) for model in order["models"]]
    root, precision = Path(order["vectors_root"]), Precision(order["precision"])
    if precision is Precision.AUTO:  # one for all: two models in two precisions are not comparable
        precision = serving_precision(Encoder.load(models[0][1]), root, wanted=precision)
    progress.resolved({"precision": precision.value})
    judging = Judging(vectors=root, ks=tuple(order["ks"]), num_examples=0, precision=precision)
    watch = Watching(progress, phases={"evaluating": Phase.EVALUATING}, embedding=Phase.EVALUATING)
    found = side_by_side(models, judged, judging=judging, watch=watch)
    progress.phase(Phase.EXPORTING)
    for number, tuned in enumerate(found.models[1:], start=1):
        _write_queries(
            Path(order["staging"]), number, lines=list(_queries(found.models[0], tuned, judged=judged, judging=judging))
        )
    return {"summary": _summary(found) | {"metric": judging.metric, "precision": precision.value}}


def _summary(found: SideBySide) -> dict[str, Any]:
    return {
        "num_queries": found.num_queries,
        "num_documents": found.num_documents,
        "small_corpus": found.num_documents < _SMALL * found.num_queries,
        "models": [model.to_dict() for model in found.models],
        "comparisons": [
            {"base": one.base, "tuned": one.tuned, **one.comparison.to_dict()} for one in found.comparisons
        ],
    }


def _queries(base: Judged, tuned: Judged, *, judged: EvalSet, judging: Judging) -> Iterator[dict[str, Any]]:
    """Every query, those that changed most first."""
    for change in changes(base.evaluation.per_query, tuned.evaluation.per_query, metric=judging.metric):
        grades = judged.qrels[change.query]
        best = sorted((name for name, grade in grades.items() if grade > 0), key=lambda name: (-grades[name], name))
        yield {
            "query": change.query,
            "outcome": change.outcome.value,
            "base": change.base,
            "tuned": change.tuned,
            "text": _shown(judged.queries[change.query]),
            "relevant": [_document(name, grades, judged=judged) for name in best[:_MAX_RELEVANT]],
            "base_first": _first(base, change.query, judged=judged),
            "tuned_first": _first(tuned, change.query, judged=judged),
        }


def _first(model: Judged, query: str, *, judged: EvalSet) -> dict[str, Any]:
    """What the model found best."""
    return _document(ranked(model.evaluation.run[query])[0], judged.qrels[query], judged=judged)


def _document(name: str, grades: Mapping[str, int], *, judged: EvalSet) -> dict[str, Any]:
    return {"id": name, "text": _shown(judged.corpus[name]), "grade": grades.get(name)}


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


def _write_queries(folder: Path, number: int, *, lines: list[dict[str, Any]]) -> None:
    """The queries of the comparison of that number stand in three files, by what became of them."""
    for outcome in Outcome:
        chosen = [json.dumps(line, ensure_ascii=False) + "\n" for line in lines if line["outcome"] == outcome.value]
        (folder / queries_file(number, outcome.value)).write_text("".join(chosen), encoding="utf-8")
