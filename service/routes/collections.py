"""Collections: made, filled and asked."""

import re
import sys
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from infonce.errors import IndexMismatch
from service.bodies import DOCUMENTS_LIMIT, described, json_body, parse, read_all, require_type
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Window, Wiring
from service.ingest import store_documents, store_lines
from service.quotas import require_bytes
from service.repetition import Once
from service.room import declared_bytes, require_room
from service.schemas.collections import (
    COLLECTION_NAME,
    CollectionCreate,
    CollectionObject,
    CollectionQuery,
    DocumentsAccepted,
    DocumentsUpsert,
    QueryAnswer,
)
from service.schemas.lists import Listing
from service.server_timing import tell
from service.store import catalog, documents
from service.store.database import Tx
from service.store.errors import NotFound
from service.store.records import CollectionRecord, new_id
from service.uploads import received_stream

NDJSON = "application/x-ndjson"
_ID = re.compile(r"col-[0-9a-z]{26}")

router = APIRouter(prefix="/v1/collections", tags=["collections"], dependencies=KEY_FIRST)


def collection_name(c: str) -> str:
    """The path's `c` if it can be a name or an id; else it is not found, as a random one."""
    if not COLLECTION_NAME.fullmatch(c) and not _ID.fullmatch(c):
        raise NotFound("collection", c[:80])
    return c


Name = Annotated[str, Depends(collection_name)]


@router.post("", status_code=201, openapi_extra=described(CollectionCreate))
def create(
    request: Request,
    asked: Annotated[CollectionCreate, Depends(json_body(CollectionCreate))],
    parts: Parts,
    project: Project,
    repetition: Once,
) -> CollectionObject:
    """Make an empty collection, for texts under a model or for vectors of your own."""
    digest = request.state.body_sha256

    def make() -> str:
        record = CollectionRecord(
            id=new_id("col"),
            project=project,
            name=asked.name,
            created_at=parts.clock(),
            model=asked.model,
            dimension=_dimension(asked, parts, project),
            metadata=asked.metadata,
            watermark=0,
        )
        with parts.database.write() as tx:
            repetition.remember(tx, digest, object_id=record.id)  # first: who comes second takes no name
            catalog.insert_collection(tx, record)
        return record.id

    id = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return _answer(tx, catalog.get_collection(tx, project, name=id))


@router.get("")
def list_collections(parts: Parts, project: Project, page: Window) -> Listing[CollectionObject]:
    """The project's collections, newest first."""
    with parts.database.read() as tx:
        records, more = catalog.page_collections(tx, project, page=page)
        return Listing.of([_answer(tx, record) for record in records], more)


@router.get("/{c}")
def retrieve(c: Name, parts: Parts, project: Project) -> CollectionObject:
    """One collection, by name or id."""
    with parts.database.read() as tx:
        return _answer(tx, catalog.get_collection(tx, project, name=c))


@router.post("/{c}/documents", status_code=202, openapi_extra=described(DocumentsUpsert, NDJSON))
async def upsert(
    c: Name, request: Request, parts: Parts, project: Project, after: BackgroundTasks
) -> DocumentsAccepted:
    """Store documents, in place of those with the same ids; a job makes them searchable.

    A JSON array is all or nothing. NDJSON (one document a line) has no total limit and is checked as a whole first.
    """
    media_type = require_type(request, "application/json", NDJSON)
    coming = declared_bytes(request, limit=sys.maxsize if media_type == NDJSON else DOCUMENTS_LIMIT)
    await run_in_threadpool(_require_place, parts, project, coming)
    if media_type == NDJSON:
        async with received_stream(request, parts.artifacts) as path:
            quotas, now = parts.settings.quotas, parts.clock()
            accepted = await run_in_threadpool(
                store_lines, parts.database, path, project=project, name=c, quotas=quotas, now=now
            )
    else:
        raw = await read_all(request, DOCUMENTS_LIMIT)
        accepted = await run_in_threadpool(_store, parts, project, c, raw)
    after.add_task(parts.sweep.poke)
    return accepted


@router.post("/{c}/query", openapi_extra=described(CollectionQuery))
def query(
    c: Name,
    request: Request,
    asked: Annotated[CollectionQuery, Depends(json_body(CollectionQuery, limit=DOCUMENTS_LIMIT))],
    parts: Parts,
    project: Project,
) -> QueryAnswer:
    """The documents nearest to a text or a vector."""
    answered = parts.search.query(project, c, asked=asked)
    tell(request, answered.seconds)
    if "search" in answered.seconds:
        parts.metrics.searched(answered.seconds["search"])
    return answered.answer


def _store(parts: Wiring, project: str, name: str, raw: bytes) -> DocumentsAccepted:
    bodies, quotas = parse(DocumentsUpsert, raw).documents, parts.settings.quotas
    return store_documents(parts.database, project=project, name=name, bodies=bodies, quotas=quotas, now=parts.clock())


def _require_place(parts: Wiring, project: str, coming: int) -> None:
    """Disk and project have place for so many bytes more."""
    require_room(parts.artifacts, parts.settings, num_bytes=coming)
    with parts.database.read() as tx:
        require_bytes(tx, project, num_bytes=coming, quotas=parts.settings.quotas)


def _dimension(asked: CollectionCreate, parts: Wiring, project: str) -> int:
    """What the caller says where there is no model, else what the model has."""
    if asked.model is None:
        assert asked.dimension is not None, "the body was checked"
        return asked.dimension
    dimensions = parts.lookup.dimensions(parts.lookup.find(project, asked.model))
    if asked.dimension not in (None, dimensions):
        message = f"dimension is {asked.dimension} and model {asked.model} has {dimensions}; leave dimension out"
        raise IndexMismatch(message)
    return dimensions


def _answer(tx: Tx, record: CollectionRecord) -> CollectionObject:
    return CollectionObject(
        id=record.id,
        name=record.name,
        model=record.model,
        dimension=record.dimension,
        created_at=int(record.created_at),
        metadata=dict(record.metadata),
        count=documents.count(tx, record.id),
        pending=documents.pending(tx, record),
        active_version=record.active_version,
    )
