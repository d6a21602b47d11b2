"""What is wrong with an upload, what it is like, and a new file without what is wrong beyond doubt."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from infonce.audit_process import AuditProcess
from infonce.errors import DatasetError, InfonceError
from infonce.formats import check_pairs
from infonce.hub import MINILM
from service.audits import stored_pairs
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Wiring, object_id
from service.errors import ServiceError, Unavailable
from service.keeping import keep
from service.quotas import require_bytes
from service.repetition import Once
from service.room import require_room
from service.schemas.audits import FileIssues, FileStats
from service.schemas.files import FileObject
from service.store import files
from service.store.checksums import sha256_of
from service.store.database import Tx
from service.store.errors import ArtifactCorrupt, NotFound
from service.store.records import FilePurpose, FileRecord, new_id

router = APIRouter(prefix="/v1/files", tags=["files"], dependencies=KEY_FIRST)
FileId = Annotated[str, Depends(object_id("file", "file"))]
Model = Annotated[str | None, Query(max_length=300, description=f"whose tokens are counted; {MINILM} if left out")]
HeldOut = Annotated[str | None, Query(max_length=80, description="a file of pairs that are judged by: what is in both")]


@router.get("/{id}/issues")
def issues(id: FileId, parts: Parts, project: Project, model: Model = None, held_out: HeldOut = None) -> FileIssues:
    """Copies, conflicts, texts that are cut and what else an audit finds; 503 with Retry-After while it is made."""
    return FileIssues.of(id, _audit(parts, project, id=id, model=model, held_out=held_out))


@router.get("/{id}/stats")
def stats(id: FileId, parts: Parts, project: Project, model: Model = None, held_out: HeldOut = None) -> FileStats:
    """Pairs, negatives, duplicates, how many belong to how many, lengths in a model's tokens, overlap."""
    return FileStats.of(id, _audit(parts, project, id=id, model=model, held_out=held_out), held_out=held_out)


@router.post("/{id}/clean")
def clean(id: FileId, parts: Parts, project: Project, repetition: Once) -> FileObject:
    """Make a new file, which names this one as its parent, without copies and conflicts."""
    with parts.database.read() as tx:
        parent = _pairs(tx, project, id=id, param="id")
    digest = hashlib.sha256(f"clean {id}".encode()).hexdigest()

    def make() -> str:
        with parts.database.read() as tx:
            require_bytes(tx, project, num_bytes=0, quotas=parts.settings.quotas)
        require_room(parts.artifacts, parts.settings, num_bytes=2 * parent.num_bytes)
        part = parts.artifacts.new_part()
        try:
            with _unless_deleted(parts, project, ids=[id]):
                _clean(parts, parent, part)
            record = _cleaned(parts, parent, part)
            return keep(parts, part, record=record, first=repetition.remembering(digest, object_id=record.id))
        finally:
            for left in (part, part.with_name(f"{part.name}.part")):  # the second of a process that was killed
                parts.artifacts.discard(left)

    made = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return FileObject.of(files.get_file(tx, project, id=made))


def _audit(parts: Wiring, project: str, *, id: str, model: str | None, held_out: str | None) -> dict[str, Any]:
    with parts.database.read() as tx:
        record = _pairs(tx, project, id=id, param="id")
        judged = None if held_out is None else _pairs(tx, project, id=held_out, param="held_out")
    found = (
        None if model is None and not parts.lookup.is_base(MINILM) else parts.lookup.served(project, model or MINILM)
    )
    with _unless_deleted(parts, project, ids=[id] if held_out is None else [id, held_out]):
        return parts.audits.of(record, held_out=judged, model=found)


@contextmanager
def _unless_deleted(parts: Wiring, project: str, *, ids: Sequence[str]) -> Iterator[None]:
    """What cannot be read because it was deleted meanwhile is not found, and no damage."""
    try:
        yield
    except (ArtifactCorrupt, InfonceError, Unavailable):
        with parts.database.read() as tx:
            for id in ids:
                files.get_file(tx, project, id=id)
        raise


def _pairs(tx: Tx, project: str, *, id: str, param: str) -> FileRecord:
    """The file, which holds pairs."""
    try:
        record = files.get_file(tx, project, id=id)
    except NotFound as error:
        if param == "id":
            raise
        raise ServiceError("not_found", f"{param}: {error}", param=param) from None
    if record.purpose is not FilePurpose.FINE_TUNE:
        message = f"file {id} has purpose {record.purpose}; pairs are audited, purpose {FilePurpose.FINE_TUNE}"
        raise ServiceError("invalid_value", message, param=param)
    return record


def _clean(parts: Wiring, parent: FileRecord, part: Path) -> None:
    """The part file holds the pairs of the parent that are sound.

    Raises:
        DatasetError: none is.
        Unavailable: the process that makes it ended without a word.
    """
    try:
        AuditProcess().clean(stored_pairs(parts.artifacts, parent), part)
    except DatasetError:
        raise
    except InfonceError as error:
        raise Unavailable("unavailable", str(error), retry_after_seconds=60) from None


def _cleaned(parts: Wiring, parent: FileRecord, part: Path) -> FileRecord:
    """What is to be recorded of a cleaned file."""
    return FileRecord(
        id=new_id("file"),
        project=parent.project,
        created_at=parts.clock(),
        filename=f"{PurePath(parent.filename).stem[:200]}.clean.jsonl",
        purpose=parent.purpose,
        num_bytes=part.stat().st_size,
        sha256=sha256_of(part),
        counts=asdict(check_pairs(part)),
        parent=parent.id,
        metadata=parent.metadata,
    )
