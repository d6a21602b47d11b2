"""Uploads: files that come in parts, for what is large or the line is slow."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from infonce.dialects import FieldMapping
from service import part_uploads
from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Wiring, object_id
from service.errors import TooLarge
from service.forms import FormShape, label
from service.quotas import require_bytes
from service.repetition import Once
from service.room import declared_bytes, require_room
from service.schemas.uploads import UploadComplete, UploadCreate, UploadObject, UploadPart
from service.store import files, uploads
from service.store.errors import NotFound
from service.store.records import new_id
from service.store.uploads import EXPIRE_SECONDS, UploadRecord
from service.uploads import received_upload

router = APIRouter(prefix="/v1/uploads", tags=["files"], dependencies=KEY_FIRST)
UploadId = Annotated[str, Depends(object_id("upload", "upload"))]

_PART_SCHEMA = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string", "format": "binary"}}}
_PART_FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _PART_SCHEMA}}}}


@router.post("", openapi_extra=described(UploadCreate))
def create(
    request: Request,
    asked: Annotated[UploadCreate, Depends(json_body(UploadCreate))],
    parts: Parts,
    project: Project,
    repetition: Once,
) -> UploadObject:
    """Announce a file that will come in parts within a day; what it is for and how long it is cannot change."""
    if asked.bytes > (limit := parts.settings.max_upload_bytes):
        raise TooLarge("the file", limit, remedy="split it, or raise INFONCE_MAX_UPLOAD_BYTES")
    mapping = None if asked.mapping is None else FieldMapping.from_dict(asked.mapping)
    digest = request.state.body_sha256

    def make() -> str:
        require_room(parts.artifacts, parts.settings, num_bytes=asked.bytes)
        now = parts.clock()
        record = UploadRecord(
            id=new_id("upload"),
            project=project,
            created_at=now,
            expires_at=now + EXPIRE_SECONDS,
            filename=label(asked.filename),
            purpose=asked.purpose,
            num_bytes=asked.bytes,
            mapping=None if mapping is None else mapping.to_dict(),
            metadata=asked.metadata or {},
        )
        with parts.database.write() as tx:
            repetition.remember(tx, digest, object_id=record.id)
            require_bytes(tx, project, num_bytes=asked.bytes, quotas=parts.settings.quotas)
            uploads.insert_upload(tx, record)
        return record.id

    return _shown(parts, project, repetition.once(parts.database, digest, make=make))


@router.post("/{id}/parts", openapi_extra=_PART_FORM)
async def add_part(id: UploadId, request: Request, parts: Parts, project: Project, repetition: Once) -> UploadPart:
    """Bring some bytes of the file; parts may come at once and in any order."""
    upload = await run_in_threadpool(_pending, parts, project, id)
    shape = FormShape(file="data", remedy="no part is longer than the file that was announced")
    coming = declared_bytes(request, limit=upload.num_bytes)
    await run_in_threadpool(require_room, parts.artifacts, parts.settings, num_bytes=coming)
    async with received_upload(request, parts.artifacts, limit=upload.num_bytes, shape=shape) as received:

        def add() -> UploadPart:
            return UploadPart.of(part_uploads.add_part(parts, upload, received=received, repetition=repetition))

        return await run_in_threadpool(add)


@router.post("/{id}/complete", openapi_extra=described(UploadComplete))
def complete(
    id: UploadId,
    asked: Annotated[UploadComplete, Depends(json_body(UploadComplete))],
    parts: Parts,
    project: Project,
) -> UploadObject:
    """Make a file of the parts, once every line of it was read; refused, it stays open for other parts."""
    with parts.database.read() as tx:
        upload = uploads.get_upload(tx, project, id=id)
    part_uploads.complete(parts, upload, asked=asked)
    return _shown(parts, project, id)


@router.post("/{id}/cancel")
def cancel(id: UploadId, parts: Parts, project: Project) -> UploadObject:
    """Give the upload up; its parts are gone."""
    return UploadObject.of(part_uploads.cancel(parts, project, id=id), None, now=parts.clock())


def _pending(parts: Wiring, project: str, id: str) -> UploadRecord:
    """The upload, which takes parts: a look before a long body."""
    with parts.database.read() as tx:
        upload = uploads.get_upload(tx, project, id=id)
    part_uploads.require_pending(upload, now=parts.clock())
    return upload


def _shown(parts: Wiring, project: str, id: str) -> UploadObject:
    """The upload and what it became."""
    with parts.database.read() as tx:
        upload = uploads.get_upload(tx, project, id=id)
        file = None
        if upload.file_id is not None:
            try:
                file = files.get_file(tx, project, id=upload.file_id)
            except NotFound:  # deleted since
                file = None
    return UploadObject.of(upload, file, now=parts.clock())
