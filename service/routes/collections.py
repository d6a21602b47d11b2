"""Collections: made, asked, deleted."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from infonce.errors import IndexMismatch
from service.bodies import DOCUMENTS_LIMIT, described, json_body
from service.callers import KEY_FIRST, Project
from service.collection_answers import collection_object, collection_objects
from service.dependencies import CollectionPath, LabelledWindow, Parts, Wiring
from service.duplicates import find_duplicates
from service.given_metadata import METADATA_QUERY
from service.references import find_here
from service.repetition import Once
from service.schemas.collections import (
    CollectionCreate,
    CollectionDeleted,
    CollectionObject,
    CollectionQuery,
    QueryAnswer,
    QueryAnswers,
)
from service.schemas.duplicates import Duplicates, DuplicatesFind
from service.schemas.lists import Listing
from service.server_timing import tell
from service.store import catalog, removal
from service.store.collection_records import CollectionRecord
from service.store.records import new_id

router = APIRouter(prefix="/v1/collections", tags=["collections"], dependencies=KEY_FIRST)


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
        dimension = _dimension(asked, parts, project)
        asked.index.check(dimension)
        record = CollectionRecord(
            id=new_id("col"),
            project=project,
            name=asked.name,
            created_at=parts.clock(),
            model=asked.model,
            dimension=dimension,
            metadata=asked.metadata,
            watermark=0,
            asked_index=asked.index.model_dump(),
        )
        with parts.database.write() as tx:
            repetition.remember(tx, digest, object_id=record.id)  # first: who comes second takes no name
            catalog.insert_collection(tx, record)
        return record.id

    id = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return collection_object(tx, catalog.get_collection(tx, project, name=id))


@router.get("", openapi_extra=METADATA_QUERY)
def list_collections(parts: Parts, project: Project, page: LabelledWindow) -> Listing[CollectionObject]:
    """The project's collections, newest first."""
    with parts.database.read() as tx:
        records, more = catalog.page_collections(tx, project, page=page)
        return Listing.of(collection_objects(tx, records), more)


@router.get("/{c}")
def retrieve(c: CollectionPath, parts: Parts, project: Project) -> CollectionObject:
    """One collection, by name or id."""
    with parts.database.read() as tx:
        return collection_object(tx, catalog.get_collection(tx, project, name=c))


@router.delete("/{c}")
def delete(c: CollectionPath, parts: Parts, project: Project) -> CollectionDeleted:
    """Delete a collection with its documents and versions; no unfinished training may be about to deploy to it.

    Many documents go a few thousand at a time: who asks meanwhile finds fewer, and one cut off is sent again.
    """
    with parts.database.read() as tx:
        collection = removal.begin(tx, project, name=c)
    is_left = True
    while is_left:
        with parts.database.write() as tx:
            is_left = removal.go_on(tx, collection, now=parts.clock())
    return CollectionDeleted(id=collection.id)


@router.post("/{c}/query", openapi_extra=described(CollectionQuery), response_model=QueryAnswer | QueryAnswers)
def query(
    c: CollectionPath,
    request: Request,
    asked: Annotated[CollectionQuery, Depends(json_body(CollectionQuery, limit=DOCUMENTS_LIMIT))],
    parts: Parts,
    project: Project,
) -> Response:
    """The documents nearest to a text, a vector or another document; `queries` has several at once."""
    answered = parts.search.query(project, c, asked=asked)
    tell(request, answered.seconds)
    if "search" in answered.seconds:
        parts.metrics.searched(answered.seconds["search"])
    content = answered.answer.model_dump_json()  # here: what a route returns is checked and written in other threads
    return Response(content, media_type="application/json")


@router.post("/{c}/duplicates", openapi_extra=described(DuplicatesFind))
def duplicates(
    c: CollectionPath,
    asked: Annotated[DuplicatesFind, Depends(json_body(DuplicatesFind))],
    parts: Parts,
    project: Project,
) -> Duplicates:
    """Documents that are nearly the same, a window of up to some thousand documents at a time.

    The next window is asked for with `after` set to this one's `last_id`. A document tells of its nearest 100.
    """
    return find_duplicates(parts.database, parts.search.indexes, project=project, name=c, asked=asked)


def _dimension(asked: CollectionCreate, parts: Wiring, project: str) -> int:
    """What the caller says where there is no model, else what the model has."""
    if asked.model is None:
        assert asked.dimension is not None, "the body was checked"
        return asked.dimension
    dimensions = parts.lookup.dimensions(find_here(parts.lookup, project, name=asked.model))
    if asked.dimension not in (None, dimensions):
        message = f"dimension is {asked.dimension} and model {asked.model} has {dimensions}; leave dimension out"
        raise IndexMismatch(message)
    return dimensions
