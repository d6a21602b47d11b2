"""Versions of a collection: built beside the one that answers, compared, promoted, taken back."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.collection_answers import collection_object, version_objects
from service.comparison import compare as compare_versions
from service.dependencies import CollectionPath, Parts, Window, Wiring, object_id
from service.errors import ServiceError
from service.ordering import Orders
from service.projection import draw
from service.promotion import Move
from service.references import find_here
from service.repetition import Once, Repetition
from service.schemas.collections import CollectionObject, IndexAsked
from service.schemas.lists import Listing
from service.schemas.projection import Projection
from service.schemas.versions import (
    Compare,
    Comparison,
    Promote,
    Rollback,
    VersionCreate,
    VersionDeleted,
    VersionObject,
)
from service.store import catalog, versions
from service.store.collection_records import CollectionRecord, VersionRecord, VersionStatus
from service.store.database import Tx
from service.store.errors import Conflict
from service.store.records import new_id
from service.version_orders import order_version

router = APIRouter(prefix="/v1/collections/{c}", tags=["versions"], dependencies=KEY_FIRST)

VersionId = Annotated[str, Depends(object_id("ver", "version"))]
_OfVersion = Query(pattern=r"^ver-[0-9a-z]{26}$", description="a version; the one that answers is drawn by itself")
IfMatch = Annotated[str | None, Header(max_length=200, description="the version that answers now, in quotes")]


@router.post("/versions", status_code=202, openapi_extra=described(VersionCreate))
def create(
    c: CollectionPath,
    asked: Annotated[VersionCreate, Depends(json_body(VersionCreate))],
    parts: Parts,
    project: Project,
    orders: Orders,
    after: BackgroundTasks,
) -> VersionObject:
    """Build the collection's index by another model, beside the one that answers; promote it when it is ready."""
    with parts.database.read() as tx:
        collection = catalog.get_collection(tx, project, name=c)

    def submit(now: float) -> str:
        dimensions = parts.lookup.dimensions(find_here(parts.lookup, project, name=asked.model))
        _check_model(collection, asked.model, dimensions=dimensions)
        index = collection.asked_index if asked.index is None else asked.index.model_dump()
        IndexAsked.model_validate(index).check(dimensions)
        version = VersionRecord(
            id=new_id("ver"),
            collection_id=collection.id,
            created_at=now,
            model=asked.model,
            fingerprint=None,
            dimension=dimensions,
            count=0,
            watermark=0,
            folder=None,
            job_id="",
            status=VersionStatus.BUILDING,
            asked_index=index,
        )
        insert = partial(orders.insert, object_id=version.id)
        with parts.database.write() as tx:
            catalog.lock_collection(tx, collection.id)  # it may have gone
            job = order_version(tx, collection, version=version, now=now, insert=insert)
            versions.insert(tx, replace(version, job_id=job))
        return version.id

    id = orders.of(f"{collection.id} {asked.model_dump_json()}").once(submit)
    after.add_task(parts.sweep.poke)
    with parts.database.read() as tx:
        return _answer(tx, versions.get(tx, collection.id, id=id), collection)


@router.get("/versions")
def list_versions(c: CollectionPath, parts: Parts, project: Project, page: Window) -> Listing[VersionObject]:
    """The collection's versions, newest first: the one that answers, the one before, and what was built beside."""
    with parts.database.read() as tx:
        collection = catalog.get_collection(tx, project, name=c)
        found, more = versions.page_versions(tx, collection.id, page=page)
        return Listing.of(version_objects(tx, found, collection=collection), more)


@router.get("/versions/{id}")
def retrieve(c: CollectionPath, id: VersionId, parts: Parts, project: Project) -> VersionObject:
    """One version."""
    with parts.database.read() as tx:
        collection = catalog.get_collection(tx, project, name=c)
        return _answer(tx, versions.get(tx, collection.id, id=id), collection)


@router.delete("/versions/{id}")
def delete(c: CollectionPath, id: VersionId, parts: Parts, project: Project) -> VersionDeleted:
    """Delete a version that does not answer."""
    with parts.database.write() as tx:
        collection = catalog.get_collection(tx, project, name=c)
        versions.get(tx, collection.id, id=id)
        if collection.active_version == id:
            raise Conflict("in_use", f"Version {id} answers the queries of {collection.name!r}; promote another first")
        versions.delete(tx, collection, id=id)
    return VersionDeleted(id=id)


@router.post("/promote", openapi_extra=described(Promote))
def promote(
    c: CollectionPath,
    asked: Annotated[Promote, Depends(json_body(Promote))],
    parts: Parts,
    project: Project,
    repetition: Once,
    after: BackgroundTasks,
    if_match: IfMatch = None,
) -> CollectionObject:
    """Move the collection's queries to a version, its model and its index at once."""
    act = partial(parts.promotion.promote, project, c, id=asked.version, guard=asked.guard)
    try:
        return _moved(parts, repetition, name=c, expected=_tag(if_match), act=act)
    finally:
        after.add_task(parts.sweep.poke)


@router.post("/rollback", openapi_extra=described(Rollback))
def rollback(
    c: CollectionPath,
    asked: Annotated[Rollback, Depends(json_body(Rollback))],
    parts: Parts,
    project: Project,
    repetition: Once,
    if_match: IfMatch = None,
) -> CollectionObject:
    """Move the collection's queries to the version before."""
    act = partial(parts.promotion.roll_back, project, c)
    return _moved(parts, repetition, name=c, expected=_tag(if_match), act=act)


@router.post("/compare", openapi_extra=described(Compare))
def compare(
    c: CollectionPath,
    asked: Annotated[Compare, Depends(json_body(Compare))],
    parts: Parts,
    project: Project,
) -> Comparison:
    """What two versions find for the same queries, side by side."""
    return compare_versions(parts.search, project, name=c, asked=asked)


def _moved(
    parts: Wiring, repetition: Repetition, *, name: str, expected: str | None, act: Callable[..., object]
) -> CollectionObject:
    """The collection after `act` moved it, now or when the same request came before."""
    project, database = repetition.project, parts.database
    with database.read() as tx:
        id = catalog.get_collection(tx, project, name=name).id
    digest = sha256(f"{id} {expected} {repetition.request.state.body_sha256}".encode()).hexdigest()

    def make() -> str:
        act(move=Move(expected=expected, first=repetition.remembering(digest, object_id=id), now=parts.clock()))
        return id

    repetition.once(database, digest, make=make)
    with database.read() as tx:
        return collection_object(tx, catalog.get_collection(tx, project, name=id))


def _answer(tx: Tx, version: VersionRecord, collection: CollectionRecord) -> VersionObject:
    [told] = version_objects(tx, [version], collection=collection)
    return told


@router.get("/projection")
def projection(
    c: CollectionPath,
    parts: Parts,
    project: Project,
    version: Annotated[str | None, _OfVersion] = None,
    against: Annotated[str | None, _OfVersion] = None,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 1_000,
) -> Projection:
    """A sample of the documents as points of a plane, their first two principal components, to be looked at."""
    ids = {"version": version, "against": against}
    return draw(parts.search.indexes, project=project, name=c, limit=limit, **ids)


def _check_model(collection: CollectionRecord, model: str, *, dimensions: int) -> None:
    if collection.model is None:
        message = f"collection {collection.name!r} has no model, only vectors of its clients; make another collection"
        raise ServiceError("no_model", message, param="model")
    if collection.dimension != dimensions:
        message = f"collection {collection.name!r} has {collection.dimension} dimensions and {model} {dimensions}"
        raise ServiceError("index_mismatch", message + "; make another collection", param="model")


def _tag(header: str | None) -> str | None:
    """What an If-Match names; a star, as none, matches every version."""
    if header is None or header.strip() == "*":
        return None
    return header.strip().removeprefix("W/").strip('"')
