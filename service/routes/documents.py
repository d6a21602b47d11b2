"""Documents of a collection: stored, read, counted, deleted."""

import sys
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.asking import warnings_of
from service.bodies import DOCUMENTS_LIMIT, described, json_body, read_all, require_type
from service.callers import KEY_FIRST, Project
from service.dependencies import CollectionPath, Limit, Parts, Wiring, known_parameters
from service.document_bodies import documents_in
from service.errors import InvalidInput, Place
from service.ingest import Into, Stored, delete_documents, store_documents, store_lines
from service.quotas import require_bytes
from service.repetition import Once, Repetition
from service.room import declared_bytes, require_room
from service.schemas.documents import (
    DocumentObject,
    DocumentsAccepted,
    DocumentsCount,
    DocumentsCounted,
    DocumentsDelete,
    DocumentsDeleted,
    DocumentsUpsert,
)
from service.schemas.lists import Listing
from service.shown import DocumentWindow, documents_of
from service.store import catalog
from service.store.checksums import sha256_of
from service.store.database import Database
from service.uploads import received_stream

NDJSON = "application/x-ndjson"
_MAX_IDS = 100
_AFTER = "the id that the list goes on behind, whether or not there is such a document"

router = APIRouter(prefix="/v1/collections/{c}", tags=["documents"], dependencies=KEY_FIRST)

Ids = Annotated[
    list[Annotated[str, Query(min_length=1, max_length=512)]] | None,
    Query(alias="id", max_length=_MAX_IDS, description=f"of a document; up to {_MAX_IDS} times"),
]


@router.post(
    "/documents",
    responses={202: {"model": DocumentsAccepted, "description": "Stored; `job` makes them searchable."}},
    openapi_extra=described(DocumentsUpsert, NDJSON),
)
async def upsert(
    c: CollectionPath,
    request: Request,
    response: Response,
    parts: Parts,
    project: Project,
    repetition: Once,
    after: BackgroundTasks,
) -> DocumentsAccepted:
    """Store documents, in place of those with the same ids; up to 256 texts can be found when this is answered.

    Documents that bring their vectors always can. For more texts a job is named, and the answer is a 202; what that
    job has embedded can be found before it ends.
    A JSON array is all or nothing. NDJSON (one document a line) has no total limit and is checked as a whole first.
    """
    media_type = require_type(request, "application/json", NDJSON)
    coming = declared_bytes(request, limit=sys.maxsize if media_type == NDJSON else DOCUMENTS_LIMIT)
    await run_in_threadpool(_require_place, parts, project, coming)
    take = partial(_once, parts, repetition, name=c)
    if media_type == NDJSON:
        async with received_stream(request, parts.artifacts) as path:
            lines = partial(store_lines, path=path)
            stored = await run_in_threadpool(take, store=lines, said=partial(sha256_of, path))
    else:
        raw = await read_all(request, DOCUMENTS_LIMIT)
        array = partial(store_documents, bodies=await run_in_threadpool(documents_in, raw))
        stored = await run_in_threadpool(take, store=array, said=lambda: sha256(raw).hexdigest())
    if stored.leaves_work:
        after.add_task(parts.sweep.poke)
    if stored.accepted.job is not None:
        response.status_code = 202
    return stored.accepted


@router.get("/documents", dependencies=[Depends(known_parameters("id", "after", "limit", "order"))])
def list_documents(
    c: CollectionPath,
    parts: Parts,
    project: Project,
    ids: Ids = None,
    after: Annotated[str | None, Query(max_length=512, description=_AFTER)] = None,
    limit: Limit = 20,
    order: Annotated[str | None, Query(pattern="^(asc|desc)$", description="by id; asc if nothing is said")] = None,
) -> Listing[DocumentObject]:
    """The documents of these ids, or all of them in the order of their ids; vectors are not sent back.

    A window ends early where its documents come to 32 MiB.
    """
    if ids is not None and (after, order) != (None, None):
        detail = "query parameters after and order are of the list of all documents; leave them out where id names some"
        raise InvalidInput([Place(code="invalid_value", detail=detail)], param="id")
    with parts.database.read() as tx:
        collection = catalog.get_collection(tx, project, name=c)
        if ids is not None:
            return Listing.of(documents_of(tx, collection.id, ids=ids), False)
        window = DocumentWindow(after=after, limit=limit, descending=order == "desc")
        return Listing.of(*window.read(tx, collection.id))


@router.delete("/documents", dependencies=[Depends(known_parameters("id"))])
def delete_by_id(c: CollectionPath, parts: Parts, project: Project, ids: Ids = None) -> DocumentsDeleted:
    """Delete the documents of these ids; those that do not exist are not counted."""
    return delete_documents(parts.database, project=project, name=c, ids=ids or [], now=parts.clock())


@router.post("/documents/delete", openapi_extra=described(DocumentsDelete))
def delete(
    c: CollectionPath,
    asked: Annotated[DocumentsDelete, Depends(json_body(DocumentsDelete))],
    parts: Parts,
    project: Project,
) -> DocumentsDeleted:
    """Delete the documents of these ids, or all that pass the filter; they can be found no more at once.

    Where the filter has a key that no document has, and documents pass it nevertheless, nothing is deleted: a misspelt
    `ne` or `not` would take everything.
    """
    allowed = None if asked.filter is None else asked.filter.to_library()
    return delete_documents(
        parts.database, project=project, name=c, ids=asked.ids or [], allowed=allowed, now=parts.clock()
    )


@router.post("/count", openapi_extra=described(DocumentsCount))
def count(
    c: CollectionPath,
    asked: Annotated[DocumentsCount, Depends(json_body(DocumentsCount))],
    parts: Parts,
    project: Project,
) -> DocumentsCounted:
    """How many documents can be found, or how many of them pass the filter."""
    served = parts.search.indexes.current(project, c)
    allowed = None if asked.filter is None else asked.filter.to_library()
    num = served.live.count if allowed is None else served.live.count_of(allowed)
    return DocumentsCounted(count=num, warnings=warnings_of(served.live, allowed))


def _once(
    parts: Wiring,
    repetition: Repetition,
    *,
    name: str,
    said: Callable[[], str],
    store: Callable[[Database, Into], Stored],
) -> Stored:
    """What `store` accepts, or accepted when the same request came before; `said` gives the digest of the body.

    Documents have ids of their own, so it is the answer that is kept.
    """
    project, database, digest, made = repetition.project, parts.database, "", list[Stored]()
    if repetition.counts:
        with database.read() as tx:
            id = catalog.get_collection(tx, project, name=name).id
        digest = sha256(f"{id} {said()}".encode()).hexdigest()

    def make() -> str:
        into = Into(
            project=project,
            name=name,
            embed=parts.search.embed_documents,
            quotas=parts.settings.quotas,
            now=parts.clock(),
            stored=lambda tx, accepted: repetition.remember(tx, digest, object_id=accepted.model_dump_json()),
        )
        made.append(store(database, into))
        return made[-1].accepted.model_dump_json()

    answer = repetition.once(database, digest, make=make)
    return made[-1] if made else Stored(accepted=DocumentsAccepted.model_validate_json(answer), leaves_work=False)


def _require_place(parts: Wiring, project: str, coming: int) -> None:
    """Disk and project have place for so many bytes more."""
    require_room(parts.artifacts, parts.settings, num_bytes=coming)
    with parts.database.read() as tx:
        require_bytes(tx, project, num_bytes=coming, quotas=parts.settings.quotas)
