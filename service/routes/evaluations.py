"""Evaluations: several models on one set of judged queries, each against the first."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query

from infonce.compare import Outcome
from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import LabelledWindow, Parts, Window, Wiring, object_id
from service.evaluated import page_queries
from service.given_metadata import METADATA_QUERY
from service.ordering import Orders
from service.schemas.evaluations import EvaluatedQuery, EvaluationCreate, EvaluationObject
from service.schemas.lists import Listing
from service.store import evaluations, jobs
from service.store.database import Tx
from service.store.evaluations import EvaluationRecord
from service.store.records import JobRecord
from service.submit_others import submit_evaluation

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"], dependencies=KEY_FIRST)
EvaluationId = Annotated[str, Depends(object_id("eval", "evaluation"))]


@router.post("", status_code=202, openapi_extra=described(EvaluationCreate))
def create(
    asked: Annotated[EvaluationCreate, Depends(json_body(EvaluationCreate))],
    parts: Parts,
    project: Project,
    orders: Orders,
    after: BackgroundTasks,
) -> EvaluationObject:
    """Order an evaluation; `job` does it."""

    def insert(tx: Tx, job: JobRecord, record: EvaluationRecord) -> None:
        orders.insert(tx, job, object_id=record.id)
        evaluations.insert_evaluation(tx, record)

    def submit(now: float) -> str:
        return submit_evaluation(parts.database, parts.lookup, project=project, asked=asked, now=now, insert=insert).id

    id = orders.once(submit)
    after.add_task(parts.sweep.poke)
    return _read(parts, project, id)


@router.get("", openapi_extra=METADATA_QUERY)
def list_evaluations(parts: Parts, project: Project, page: LabelledWindow) -> Listing[EvaluationObject]:
    """The project's evaluations, newest first."""
    with parts.database.read() as tx:
        records, more = evaluations.page_evaluations(tx, project, page=page)
        done_by = jobs.by_ids(tx, project, ids=[record.job_id for record in records])
    return Listing.of([EvaluationObject.of(record, done_by[record.job_id]) for record in records], more)


@router.get("/{id}")
def retrieve(id: EvaluationId, parts: Parts, project: Project) -> EvaluationObject:
    """One evaluation: metrics of each model, and how sure it is that one is better."""
    return _read(parts, project, id)


@router.get("/{id}/queries")
def queries(
    id: EvaluationId,
    parts: Parts,
    project: Project,
    page: Window,
    outcome: Annotated[Outcome | None, Query(description="what became of the query under the model")] = None,
    model: Annotated[str | None, Query(max_length=512, description="the second one where none is named")] = None,
) -> Listing[EvaluatedQuery]:
    """What became of each query, those first that changed most: how well both models did and what each put first."""
    with parts.database.read() as tx:
        record = evaluations.get_evaluation(tx, project, id=id)
    found, more = page_queries(
        parts.artifacts, record, model=model, outcome=outcome, after=page.after, limit=page.limit
    )
    return Listing.of(found, more)


def _read(parts: Wiring, project: str, id: str) -> EvaluationObject:
    with parts.database.read() as tx:
        record = evaluations.get_evaluation(tx, project, id=id)
        return EvaluationObject.of(record, jobs.get(tx, project, id=record.job_id))
