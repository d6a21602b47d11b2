"""Models: those that jobs made, those that callers bring, and the base models that are known here."""

import hashlib
import json
from dataclasses import replace

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.callers import KEY_FIRST, Project
from service.dependencies import MAX_PAGE, LabelledWindow, Parts, Wiring
from service.errors import ServiceError
from service.forms import FormShape
from service.given_metadata import METADATA_BYTES, METADATA_FIELD, METADATA_PROPERTY, METADATA_QUERY, of_form
from service.importing import NAME_BYTES, model_label
from service.quotas import require_bytes
from service.repetition import Once, Repetition
from service.room import declared_bytes, require_room
from service.schemas.lists import Listing
from service.schemas.models import ModelDeleted, ModelObject
from service.store import catalog
from service.store.errors import Conflict, NotFound
from service.uploads import Upload, received_upload

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=KEY_FIRST)

_FILE = {
    "type": "string",
    "format": "binary",
    "description": "an uncompressed tar of the folder: config.json, model.safetensors, tokenizer.json and what else "
    "sentence-transformers writes",
}
_NAME = {"type": "string", "description": "what it is to be called; after the file where it is left out"}
_FIELDS = {"file": _FILE, "name": _NAME, METADATA_FIELD: METADATA_PROPERTY}
_SCHEMA = {"type": "object", "required": ["file"], "properties": _FIELDS}
_FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _SCHEMA}}}}


@router.get("", openapi_extra=METADATA_QUERY)
def list_models(request: Request, parts: Parts, project: Project, page: LabelledWindow) -> Listing[ModelObject]:
    """The project's own models, newest first, behind the base models; all are legal wherever a model is asked for.

    Without `limit` and `after` there are up to 1,000: OpenAI's list of models has no pages.
    """
    if not {"limit", "after"} & set(request.query_params):
        page = replace(page, limit=MAX_PAGE)
    found, more = parts.lookup.page(project, page)
    return Listing.of(found, more)


@router.post("", status_code=201, openapi_extra=_FORM)
async def bring(request: Request, parts: Parts, project: Project, repetition: Once) -> ModelObject:
    """Bring a model: a tar of its folder, which is loaded and has embedded a text before the answer comes."""
    shape = FormShape(fields={"name": NAME_BYTES, METADATA_FIELD: METADATA_BYTES})
    limit = parts.settings.max_upload_bytes
    coming = 2 * declared_bytes(request, limit=limit)  # the tar, and what is in it
    await run_in_threadpool(require_room, parts.artifacts, parts.settings, num_bytes=coming)
    async with received_upload(request, parts.artifacts, limit=limit, shape=shape) as received:
        return await run_in_threadpool(_brought, parts, received, repetition)


@router.get("/{id:path}")
def retrieve(id: str, parts: Parts, project: Project) -> ModelObject:
    """One model; its id may hold slashes and colons."""
    return parts.lookup.describe(project, id)


@router.delete("/{id:path}")
def delete(id: str, parts: Parts, project: Project) -> ModelDeleted:
    """Delete a model of the project by which no collection answers and which no unfinished job needs."""
    if not parts.lookup.may_be_own(id):
        parts.lookup.served(project, id)
        raise Conflict("conflict", f"{id} is a base model, which belongs to the server; only its own models go")
    try:
        with parts.database.write() as tx:
            record = catalog.delete_model(tx, project, id=id)
    except NotFound as error:
        raise ServiceError("model_not_found", str(error), param="model") from None
    parts.artifacts.discard(parts.artifacts.model_path(record.folder))  # what is cut off here, `infonce gc` finishes
    return ModelDeleted(id=id)


def _brought(parts: Wiring, received: Upload, repetition: Repetition) -> ModelObject:
    """What was made of the tar, now or when it came before."""
    name = model_label(received.fields.get("name"), received.filename)
    metadata, project = of_form(received.fields), repetition.project
    said = json.dumps([name, received.sha256, metadata], sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()

    def make() -> str:
        with parts.database.read() as tx:
            require_bytes(tx, project, num_bytes=received.num_bytes, quotas=parts.settings.quotas)
        return parts.imports.bring(
            received.path,
            project=project,
            name=name,
            metadata=metadata,
            now=parts.clock(),
            first=lambda tx, id: repetition.remember(tx, digest, object_id=id),
        )

    return parts.lookup.describe(project, repetition.once(parts.database, digest, make=make))
