"""Evaluations as rows; the values of single queries lie in a sealed folder under the artifact root (`artifacts.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from service.store.database import Tx
from service.store.errors import NotFound
from service.store.paging import window
from service.store.records import Page
from service.store.tables import evaluations, record_of, values_of


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRecord:
    """Several models on one set of judged queries; how far it is, its job says."""

    id: str
    project: str
    created_at: float
    job_id: str
    file_id: str
    """The judged queries; the file may have been deleted since."""
    models: tuple[str, ...]
    """The first is what the others are compared with."""
    ks: tuple[int, ...]
    metadata: Mapping[str, str]
    folder: str | None = None
    """Its folder's name under the artifact root's `evaluations`, with the values of each query; None until it ended."""
    num_bytes: int = 0
    """Of its folder."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Metrics of each model and the comparisons; empty until it ended."""


def insert_evaluation(tx: Tx, evaluation: EvaluationRecord) -> None:
    """The evaluation exists; its job has to be there before."""
    tx.execute(sa.insert(evaluations).values(values_of(evaluation, evaluations)))


def get_evaluation(tx: Tx, project: str, *, id: str) -> EvaluationRecord:
    """The evaluation.

    Raises:
        NotFound: the project has no such evaluation.
    """
    query = sa.select(evaluations).where(evaluations.c.project == project, evaluations.c.id == id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound("evaluation", id)
    return _record(row)


def page_evaluations(tx: Tx, project: str, *, page: Page) -> tuple[list[EvaluationRecord], bool]:
    """A window of the project's evaluations, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(evaluations).where(evaluations.c.project == project)
    rows, more = window(tx, query, table=evaluations, page=page)
    return [_record(row) for row in rows], more


def complete(tx: Tx, *, job_id: str, folder: str, num_bytes: int, summary: Mapping[str, Any]) -> None:
    """The evaluation of that job has a result; its folder has to be in place before."""
    values = {"folder": folder, "num_bytes": num_bytes, "summary": summary}
    tx.execute(sa.update(evaluations).where(evaluations.c.job_id == job_id).values(**values))


def _record(row: sa.Row[Any]) -> EvaluationRecord:
    found = record_of(EvaluationRecord, row)
    return replace(found, models=tuple(found.models), ks=tuple(found.ks))
