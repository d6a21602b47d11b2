"""Projects and their limits; an administrator of the default project sees all, any other its own."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Who
from service.dependencies import LabelledWindow, Parts
from service.errors import ServiceError
from service.given_metadata import METADATA_QUERY
from service.repetition import Once
from service.schemas.keys import PROJECT_NAME, ProjectCreate, ProjectObject, ProjectUpdate
from service.schemas.lists import Listing
from service.store import projects
from service.store.database import Tx
from service.store.errors import NotFound
from service.store.records import DEFAULT_PROJECT, ProjectRecord

router = APIRouter(prefix="/v1/projects", tags=["keys"], dependencies=KEY_FIRST)


def own_project(id: str, who: Who) -> str:
    """The path's `id` if the caller administers it; else it is not found, as a random one."""
    if not re.fullmatch(PROJECT_NAME, id) or who.administers not in (None, id):
        raise NotFound("project", id[:80])
    return id


ProjectId = Annotated[str, Depends(own_project)]


@router.post("", status_code=201, openapi_extra=described(ProjectCreate))
def create(
    request: Request,
    asked: Annotated[ProjectCreate, Depends(json_body(ProjectCreate))],
    parts: Parts,
    who: Who,
    repetition: Once,
) -> ProjectObject:
    """Make a project; keys are made for it under /v1/api_keys."""
    _require_all(who.administers)
    digest = request.state.body_sha256

    def make() -> str:
        said = asked.model_dump() | {"metadata": asked.metadata or {}}
        record = ProjectRecord(created_at=parts.clock(), **said)
        with parts.database.write() as tx:
            repetition.remember(tx, digest, object_id=record.id)  # first: who comes second takes no name
            projects.insert_project(tx, record)
        return record.id

    id = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return _answer(tx, projects.get_project(tx, id))


@router.get("", openapi_extra=METADATA_QUERY)
def list_projects(parts: Parts, who: Who, page: LabelledWindow) -> Listing[ProjectObject]:
    """Projects, newest first."""
    with parts.database.read() as tx:
        records, more = projects.page_projects(tx, only=who.administers, page=page)
        return Listing.of(_answers(tx, records), more)


@router.get("/{id}")
def retrieve(id: ProjectId, parts: Parts) -> ProjectObject:
    """One project, its limits and what it uses."""
    with parts.database.read() as tx:
        return _answer(tx, projects.get_project(tx, id))


@router.post("/{id}", openapi_extra=described(ProjectUpdate))
def update(
    id: ProjectId, asked: Annotated[ProjectUpdate, Depends(json_body(ProjectUpdate))], parts: Parts, who: Who
) -> ProjectObject:
    """Set limits and metadata; what is left out stays."""
    _require_all(who.administers)
    values = asked.model_dump(exclude_unset=True)
    if asked.metadata is None:
        values.pop("metadata", None)
    with parts.database.write() as tx:
        return _answer(tx, projects.change_project(tx, id, values=values))


def _require_all(administers: str | None) -> None:
    if administers is not None:
        message = f"Projects and limits are set with an admin key of project {DEFAULT_PROJECT}"
        raise ServiceError("insufficient_scope", message)


def _answer(tx: Tx, record: ProjectRecord) -> ProjectObject:
    [found] = _answers(tx, [record])
    return found


def _answers(tx: Tx, records: Sequence[ProjectRecord]) -> list[ProjectObject]:
    ids = [record.id for record in records]
    waiting, stored = projects.waiting_jobs_of(tx, ids), projects.stored_bytes_of(tx, ids)
    return [
        ProjectObject.of(record, waiting_jobs=waiting[record.id], stored_bytes=stored[record.id]) for record in records
    ]
