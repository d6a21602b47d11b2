"""API keys: made, listed, replaced and ended by administrators; those of the default project see all projects."""

import hashlib
import re
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Who
from service.dependencies import LabelledWindow, Parts
from service.errors import ServiceError
from service.given_metadata import METADATA_QUERY
from service.known_callers import Caller
from service.repetition import Once
from service.schemas.keys import ApiKey, ApiKeyCreate, ApiKeyDeleted, ApiKeyRotate
from service.schemas.lists import Listing
from service.shown_once import shown_once
from service.store import keys, projects
from service.store.database import Tx
from service.store.errors import NotFound

router = APIRouter(prefix="/v1/api_keys", tags=["keys"], dependencies=KEY_FIRST)
_ID = re.compile(r"[0-9A-Za-z]{8}")
_LOST = "delete that key and make another one"


def key_id(id: str) -> str:
    """The path's `id` if it can be a key's; else it is not found, as a random one."""
    if not _ID.fullmatch(id):
        raise NotFound("API key", id[:80])
    return id


KeyId = Annotated[str, Depends(key_id)]


@router.post("", status_code=201, openapi_extra=described(ApiKeyCreate))
def create(
    request: Request,
    asked: Annotated[ApiKeyCreate, Depends(json_body(ApiKeyCreate))],
    parts: Parts,
    who: Who,
    repetition: Once,
) -> ApiKey:
    """Make a key; `secret` is shown this once."""
    project, now = _project(asked, who), parts.clock()
    expires_at = None if asked.expires_in_seconds is None else now + asked.expires_in_seconds

    def make(tx: Tx) -> tuple[str, ApiKey]:
        if project != who.project:
            projects.get_project(tx, project)  # a slip of the pen makes no project
        name, scopes = asked.name, asked.scopes
        key, secret = keys.create(tx, project, name=name, now=now, scopes=scopes, expires_at=expires_at)
        return key.id, ApiKey.of(keys.labelled(tx, key, metadata=asked.metadata or {}), secret)

    digest = request.state.body_sha256
    return shown_once(parts.database, repetition, digest=digest, remedy=_LOST, make=make)


@router.get("", openapi_extra=METADATA_QUERY)
def list_keys(parts: Parts, who: Who, page: LabelledWindow) -> Listing[ApiKey]:
    """Keys, newest first, those that ended among them."""
    with parts.database.read() as tx:
        records, more = keys.page_keys(tx, who.administers, page=page)
    return Listing.of([ApiKey.of(record) for record in records], more)


@router.get("/{id}")
def retrieve(id: KeyId, parts: Parts, who: Who) -> ApiKey:
    """One key."""
    with parts.database.read() as tx:
        return ApiKey.of(keys.get(tx, id, project=who.administers))


@router.post("/{id}/rotate", status_code=201, openapi_extra=described(ApiKeyRotate))
def rotate(
    id: KeyId,
    request: Request,
    asked: Annotated[ApiKeyRotate, Depends(json_body(ApiKeyRotate))],
    parts: Parts,
    who: Who,
    repetition: Once,
) -> ApiKey:
    """Make a key like this one, which counts only for a while from now on."""
    project, now = who.administers, parts.clock()
    digest = hashlib.sha256(f"{id} {request.state.body_sha256}".encode()).hexdigest()

    def make(tx: Tx) -> tuple[str, ApiKey]:
        key, secret = keys.rotate(tx, id, project=project, now=now, grace_seconds=asked.grace_seconds)
        return key.id, ApiKey.of(key, secret)

    return shown_once(parts.database, repetition, digest=digest, remedy=_LOST, make=make)


@router.delete("/{id}")
def delete(id: KeyId, parts: Parts, who: Who) -> ApiKeyDeleted:
    """Revoke a key: it opens nothing from now on, and stays in the list."""
    with parts.database.write() as tx:
        keys.revoke(tx, id, project=who.administers, now=parts.clock())
    return ApiKeyDeleted(id=id)


def _project(asked: ApiKeyCreate, who: Caller) -> str:
    if asked.project is None or asked.project == who.project:
        return who.project
    if who.administers is not None:
        message = f"An admin key of project {who.project} makes keys of that project alone; leave project out"
        raise ServiceError("insufficient_scope", message, param="project")
    return asked.project
