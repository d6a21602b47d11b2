"""Exports: a model's folder as one tar, made by a worker and kept for a day."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Wiring, object_id
from service.exported import exported
from service.ordering import Orders
from service.schemas.models import ModelExport, ModelExportCreate
from service.store import exports, jobs
from service.store.artifacts import EXPORTED
from service.store.database import Tx
from service.store.exports import ExportRecord
from service.store.records import JobRecord
from service.stored_content import CONTENT
from service.submit_others import submit_export

router = APIRouter(prefix="/v1/model_exports", tags=["models"], dependencies=KEY_FIRST)
ExportId = Annotated[str, Depends(object_id("export", "export"))]


@router.post("", status_code=202, openapi_extra=described(ModelExportCreate))
def create(
    asked: Annotated[ModelExportCreate, Depends(json_body(ModelExportCreate))],
    parts: Parts,
    project: Project,
    orders: Orders,
    after: BackgroundTasks,
) -> ModelExport:
    """Order an export; `job` does it, and then `/content` is the tar."""

    def insert(tx: Tx, job: JobRecord, record: ExportRecord) -> None:
        orders.insert(tx, job, object_id=record.id)
        exports.insert_export(tx, record)

    def submit(now: float) -> str:
        return submit_export(parts.database, parts.lookup, project=project, asked=asked, now=now, insert=insert).id

    id = orders.once(submit)
    after.add_task(parts.sweep.poke)
    return _read(parts, project, id)


@router.get("/{id}")
def retrieve(id: ExportId, parts: Parts, project: Project) -> ModelExport:
    """One export."""
    return _read(parts, project, id)


@router.get("/{id}/content", response_class=FileResponse, responses=CONTENT)
def content(id: ExportId, request: Request, parts: Parts, project: Project) -> Response:
    """The tar; a `Range` of it where one is asked for. It can be brought to another server by `POST /v1/models`."""
    with parts.database.read() as tx:
        record = exports.get_export(tx, project, id=id)
        job = jobs.get(tx, project, id=record.job_id)
    name = f"{str(record.model).replace('/', '-')}.tar"
    return exported(request, parts, record=record, job=job, file=EXPORTED, name=name)


def _read(parts: Wiring, project: str, id: str) -> ModelExport:
    with parts.database.read() as tx:
        record = exports.get_export(tx, project, id=id)
        return ModelExport.of(record, jobs.get(tx, project, id=record.job_id), now=parts.clock())
