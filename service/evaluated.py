"""What became of each query of an evaluation, read from the sealed folder that its job left."""

import json
import re
from collections.abc import Sequence

from infonce.compare import Outcome
from service.errors import ServiceError
from service.schemas.evaluations import EvaluatedQuery
from service.store.artifacts import Artifacts, queries_file
from service.store.errors import EVALUATION_REMEDY, BadCursor
from service.store.evaluations import EvaluationRecord
from service.store.sealed import sealed_lines

_PLACE = re.compile(r"(win|loss|tie)-([0-9]{1,9})")


def page_queries(
    artifacts: Artifacts,
    record: EvaluationRecord,
    *,
    model: str | None,
    outcome: Outcome | None,
    after: str | None,
    limit: int,
) -> tuple[list[EvaluatedQuery], bool]:
    """A window of the queries in which `model` (the second one, where none is named) did so, and whether more follow.

    Wins, then losses, then ties; of each those first that changed most.

    Raises:
        ServiceError: the evaluation has no result yet, or the model is none that was compared.
        BadCursor: `after` is no place in this list.
        ArtifactCorrupt: what was written is damaged.
    """
    if record.folder is None:
        message = f"evaluation {record.id} has no result yet; see its job {record.job_id}"
        raise ServiceError("not_ready", message)
    number, outcomes = _number(record.models, model), list(Outcome) if outcome is None else [outcome]
    begin = _place(after, outcomes)
    found: list[EvaluatedQuery] = []
    for kind in outcomes[outcomes.index(begin[0]) :]:
        folder, name = artifacts.evaluation_path(record.folder), queries_file(number, kind.value)
        start = begin[1] if kind is begin[0] else 0
        lines = sealed_lines(folder, name, start=start, count=limit + 1 - len(found), remedy=EVALUATION_REMEDY)
        if start > lines.total:
            raise BadCursor(str(after))
        for place, line in enumerate(lines.found, start=start + 1):
            found.append(EvaluatedQuery(id=f"{kind.value}-{place}", **json.loads(line)))
        if len(found) > limit:
            break
    return found[:limit], len(found) > limit


def _number(models: Sequence[str], model: str | None) -> int:
    """Which of the comparisons is meant, from 1."""
    compared = list(models[1:])
    if not compared:
        message = f"only {models[0]} was evaluated, and an outcome compares two models; name at least two"
        raise ServiceError("invalid_value", message, param="model")
    if model is None:
        return 1
    if model not in compared:
        message = f"model is {model[:200]!r}; it must be one that was compared with {models[0]}: {', '.join(compared)}"
        raise ServiceError("invalid_value", message, param="model")
    return 1 + compared.index(model)


def _place(after: str | None, outcomes: Sequence[Outcome]) -> tuple[Outcome, int]:
    """From which place among the queries of which outcome on."""
    if after is None:
        return outcomes[0], 0
    match = _PLACE.fullmatch(after)
    if match is None or Outcome(match[1]) not in outcomes or int(match[2]) == 0:
        raise BadCursor(after)
    return Outcome(match[1]), int(match[2])
