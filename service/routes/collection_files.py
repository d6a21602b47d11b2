"""Collections as files: exported by a worker, kept for a day; brought from a file, whole or not at all."""

import json
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.collection_answers import collection_object
from service.collection_imports import FORM, import_collection
from service.dependencies import CollectionPath, Parts, Wiring, object_id
from service.exported import exported
from service.ordering import Orders
from service.repetition import Once
from service.room import declared_bytes, require_room
from service.schemas.collection_files import CollectionExport, CollectionExportCreate
from service.schemas.collections import CollectionObject
from service.store import catalog, documents, exports, jobs
from service.store.artifacts import EXPORTED_COLLECTION
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.exports import ExportRecord
from service.store.records import JobRecord
from service.stored_content import CONTENT
from service.submit_others import submit_collection_export
from service.uploads import received_upload

router = APIRouter(prefix="/v1/collections", tags=["collections"], dependencies=KEY_FIRST)
ExportId = Annotated[str, Depends(object_id("export", "export"))]

_FIELDS = {
    "file": {"type": "string", "format": "binary", "description": "what an export's `/content` is"},
    "name": {"type": "string", "description": "what it is to be called; as it was where it is left out"},
    "model": {"type": "string", "description": "in place of the one that made its vectors: texts are embedded anew"},
}
_SCHEMA = {"type": "object", "required": ["file"], "properties": _FIELDS}
_FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _SCHEMA}}}}


@router.post("/import", status_code=201, openapi_extra=_FORM)
async def bring(
    request: Request, parts: Parts, project: Project, repetition: Once, after: BackgroundTasks
) -> CollectionObject:
    """Bring a collection: all of the file is proved and stored before the answer comes, or nothing is kept.

    Documents that have a vector can be found at once; a job makes an index, and embeds what has none (`pending`).
    """
    limit = parts.settings.max_upload_bytes
    coming = 2 * declared_bytes(request, limit=limit)  # the file, and what is in it
    await run_in_threadpool(require_room, parts.artifacts, parts.settings, num_bytes=coming)
    async with received_upload(request, parts.artifacts, limit=limit, shape=FORM) as received:
        id = await run_in_threadpool(import_collection, parts, received, repetition=repetition)
    after.add_task(parts.sweep.poke)

    def told() -> CollectionObject:
        with parts.database.read() as tx:
            return collection_object(tx, catalog.get_collection(tx, project, name=id))

    return await run_in_threadpool(told)


@router.post("/{c}/export", status_code=202, openapi_extra=described(CollectionExportCreate, required=False))
def export(
    c: CollectionPath,
    asked: Annotated[CollectionExportCreate, Depends(json_body(CollectionExportCreate, optional=True))],
    parts: Parts,
    project: Project,
    orders: Orders,
    after: BackgroundTasks,
) -> CollectionExport:
    """Order an export of what the collection holds when `job` begins; then its `/content` is the file."""
    with parts.database.read() as tx:
        collection = catalog.get_collection(tx, project, name=c)
    metadata = asked.metadata or {}
    require_room(parts.artifacts, parts.settings, num_bytes=2 * _expected_bytes(parts, collection))

    def insert(tx: Tx, job: JobRecord, record: ExportRecord) -> None:
        orders.insert(tx, job, object_id=record.id)
        exports.insert_export(tx, record)

    def submit(now: float) -> str:
        database = parts.database
        return submit_collection_export(database, project=project, name=c, metadata=metadata, now=now, insert=insert).id

    id = orders.of(json.dumps([collection.id, metadata], sort_keys=True)).once(submit)
    after.add_task(parts.sweep.poke)
    return _answer(parts, *_read(parts, project, name=c, id=id))


@router.get("/{c}/exports/{id}")
def retrieve(c: CollectionPath, id: ExportId, parts: Parts, project: Project) -> CollectionExport:
    """One export."""
    return _answer(parts, *_read(parts, project, name=c, id=id))


@router.get("/{c}/exports/{id}/content", response_class=FileResponse, responses=CONTENT)
def content(c: CollectionPath, id: ExportId, request: Request, parts: Parts, project: Project) -> Response:
    """The file; a `Range` of it where one is asked for. `POST /v1/collections/import` takes it, here or elsewhere."""
    collection, record, job = _read(parts, project, name=c, id=id)
    name = f"{collection.name}.tar"
    return exported(request, parts, record=record, job=job, file=EXPORTED_COLLECTION, name=name)


def _read(parts: Wiring, project: str, *, name: str, id: str) -> tuple[CollectionRecord, ExportRecord, JobRecord]:
    with parts.database.read() as tx:
        collection = catalog.get_collection(tx, project, name=name)
        record = exports.get_export(tx, project, id=id, collection_id=collection.id)
        return collection, record, jobs.get(tx, project, id=record.job_id)


def _answer(parts: Wiring, collection: CollectionRecord, record: ExportRecord, job: JobRecord) -> CollectionExport:
    return CollectionExport.of(record, job, collection=collection.name, now=parts.clock())


def _expected_bytes(parts: Wiring, collection: CollectionRecord) -> int:
    """Of the file: what the documents take, and a vector for each."""
    with parts.database.read() as tx:
        count = documents.count(tx, collection.id)
    return collection.num_bytes + 4 * collection.dimension * count
