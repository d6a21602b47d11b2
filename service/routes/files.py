"""Files: streamed to disk, every line read, then kept and given back; or nothing of them is."""

import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from infonce.dialects import FieldMapping
from service.callers import KEY_FIRST, Project
from service.dependencies import LabelledWindow, Parts, Wiring, object_id
from service.errors import InvalidInput, Place
from service.given_metadata import METADATA_PROPERTY, METADATA_QUERY, of_form
from service.keeping import Content, checked, keep
from service.repetition import Once, Repetition
from service.room import declared_bytes, require_room
from service.schemas.files import FileDeleted, FileObject
from service.schemas.lists import Listing
from service.store import files
from service.store.audit_files import discard_audits
from service.store.records import FilePurpose, FileRecord
from service.stored_content import CONTENT, content_of
from service.uploads import Upload, received_upload

router = APIRouter(prefix="/v1/files", tags=["files"], dependencies=KEY_FIRST)
FileId = Annotated[str, Depends(object_id("file", "file"))]

_UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": [purpose.value for purpose in FilePurpose]},
                        "metadata": METADATA_PROPERTY,
                        "mapping": {
                            "type": "string",
                            "description": "JSON that names the fields of pairs where they are not those of a known "
                            'dialect: {"anchor": "q", "positive": "a", "negatives": ["n1", "n2"]}',
                        },
                    },
                }
            }
        },
    }
}


@router.post("", openapi_extra=_UPLOAD_FORM)
async def upload(request: Request, parts: Parts, project: Project, repetition: Once) -> FileObject:
    """Upload pairs (`fine-tune`: JSON Lines, CSV, TSV, Parquet, a BEIR zip), judgements (`eval`: a BEIR zip) or
    documents (`corpus`: JSON Lines of `{id?, text, title?, metadata?}`)."""
    limit = parts.settings.max_upload_bytes
    coming = declared_bytes(request, limit=limit)
    await run_in_threadpool(require_room, parts.artifacts, parts.settings, num_bytes=coming)
    async with received_upload(request, parts.artifacts, limit=limit) as received:
        return FileObject.of(await run_in_threadpool(_kept, parts, received, repetition))


@router.get("", openapi_extra=METADATA_QUERY)
def list_files(
    parts: Parts, project: Project, page: LabelledWindow, purpose: Annotated[FilePurpose | None, Query()] = None
) -> Listing[FileObject]:
    """The project's files, newest first."""
    with parts.database.read() as tx:
        records, more = files.page_files(tx, project, page=page, purpose=purpose)
    return Listing.of([FileObject.of(record) for record in records], more)


@router.get("/{id}")
def retrieve(id: FileId, parts: Parts, project: Project) -> FileObject:
    """One file."""
    with parts.database.read() as tx:
        return FileObject.of(files.get_file(tx, project, id=id))


@router.get("/{id}/content", response_class=FileResponse, responses=CONTENT)
def content(id: FileId, request: Request, parts: Parts, project: Project) -> Response:
    """The bytes as they were sent; a `Range` of them where one is asked for."""
    with parts.database.read() as tx:
        record = files.get_file(tx, project, id=id)
    path, label = parts.artifacts.file_path(id), record.filename
    return content_of(request, path, name=label, num_bytes=record.num_bytes, sha256=record.sha256)


@router.delete("/{id}")
def delete(id: FileId, parts: Parts, project: Project) -> FileDeleted:
    """Delete a file that no unfinished job needs."""
    with parts.database.write() as tx:
        files.delete_file(tx, project, id=id)
    parts.artifacts.discard(parts.artifacts.file_path(id))
    discard_audits(parts.artifacts, id)
    return FileDeleted(id=id)


def _kept(parts: Wiring, received: Upload, repetition: Repetition) -> FileRecord:
    """What was made of the upload, now or when it came before; its boundary differs each time, and does not count."""
    purpose, mapping = received.fields["purpose"].decode("utf-8", "replace"), received.fields.get("mapping")
    metadata = of_form(received.fields)
    said = json.dumps([purpose, received.filename, received.sha256, repr(mapping), metadata], sort_keys=True)
    digest, project = hashlib.sha256(said.encode()).hexdigest(), repetition.project

    def make() -> str:
        content = Content(
            path=received.path,
            filename=received.filename,
            purpose=_purpose(purpose),
            mapping=None if mapping is None else FieldMapping.from_json(mapping),
            num_bytes=received.num_bytes,
            sha256=received.sha256,
            metadata=metadata,
        )
        record = checked(content, project, now=parts.clock())
        return keep(parts, received.path, record=record, first=repetition.remembering(digest, object_id=record.id))

    id = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return files.get_file(tx, project, id=id)


def _purpose(text: str) -> FilePurpose:
    if text not in list(FilePurpose):
        detail = f"purpose is {text[:80]!r}; it must be one of {', '.join(FilePurpose)}"
        raise InvalidInput([Place(code="invalid_value", pointer="/purpose", detail=detail)], param="purpose")
    return FilePurpose(text)
