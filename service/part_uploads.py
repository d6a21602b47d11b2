"""Files that come in parts: each part is stored as it comes, and the whole is checked as a file that came in one body.

Whoever adds to an upload or ends it holds its row meanwhile, so that of two who end it at once one finds it ended.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infonce.dialects import FieldMapping
from service.dependencies import Wiring
from service.errors import ServiceError, TooLarge
from service.keeping import Content, checked, keep
from service.quotas import admit_bytes
from service.repetition import Repetition
from service.room import require_room
from service.schemas.uploads import MAX_PARTS, UploadComplete
from service.store import uploads
from service.store.artifacts import disk_errors
from service.store.database import Tx
from service.store.errors import UPLOAD_REMEDY, ArtifactCorrupt, Conflict, Repeated
from service.store.records import new_id
from service.store.upload_status import UploadStatus
from service.store.uploads import PartRecord, UploadRecord
from service.uploads import Upload

_CHUNK_BYTES = 1 << 20
_TIMES = 2  # the declared bytes: a part whose answer was lost may have come twice


def require_pending(upload: UploadRecord, *, now: float) -> None:
    """Raise `Conflict` (`upload_ended`) unless parts may be added and it may be completed."""
    if upload.status is not UploadStatus.PENDING:
        raise Conflict("upload_ended", f"The upload {upload.id} is {upload.status}; begin a new one")
    if upload.expires_at <= now:
        raise Conflict("upload_ended", f"The upload {upload.id} has expired; begin a new one")


def add_part(parts: Wiring, upload: UploadRecord, *, received: Upload, repetition: Repetition) -> PartRecord:
    """The part is stored, now or when it came before.

    Raises:
        Conflict: the upload has ended (`upload_ended`).
        TooLarge: there are more parts, or bytes in them, than the file can need.
        ServiceError: the project would have stored more than it may (`storage_quota`), or the part is empty.
    """
    if received.num_bytes == 0:
        raise ServiceError("invalid_value", "data has 0 bytes; send a part that has some", param="data")
    digest = hashlib.sha256(f"{upload.id} {received.sha256}".encode()).hexdigest()

    def make() -> str:
        part = PartRecord(
            id=new_id("part"),
            upload_id=upload.id,
            created_at=parts.clock(),
            num_bytes=received.num_bytes,
            sha256=received.sha256,
        )
        target, recorded = parts.artifacts.part_path(upload.id, part.id), False
        parts.artifacts.publish(received.path, target)
        try:
            with parts.database.write() as tx:
                repetition.remember(tx, digest, object_id=part.id)
                _admit(tx, parts, upload=upload, part=part)
                uploads.insert_part(tx, part)
            recorded = True
        finally:
            if not recorded:
                parts.artifacts.discard(target)
        return part.id

    id = repetition.once(parts.database, digest, make=make)
    with parts.database.read() as tx:
        return uploads.get_part(tx, id)


def complete(parts: Wiring, upload: UploadRecord, *, asked: UploadComplete) -> None:
    """The upload is a file, now or since the same was asked before.

    Raises:
        Conflict: it has ended otherwise (`upload_ended`).
        ServiceError: the parts are not the file that was announced.
        DatasetError, ConfigError: a line of it is broken.
    """
    completion = hashlib.sha256(json.dumps([asked.part_ids, asked.md5]).encode()).hexdigest()
    try:
        _refuse_ended(upload, completion, now=parts.clock())
        with parts.database.read() as tx:
            found = uploads.parts_of(tx, upload.id)
        chosen = _chosen(upload, found, asked=asked)
        require_room(parts.artifacts, parts.settings, num_bytes=upload.num_bytes)
        whole = parts.artifacts.new_part()
        try:
            _keep(parts, upload, whole=whole, chosen=chosen, md5=asked.md5, completion=completion)
        finally:
            parts.artifacts.discard(whole)
    except Repeated:
        return
    except ArtifactCorrupt:
        with parts.database.read() as tx:  # it may have been ended while its parts were read
            found_now = uploads.get_upload(tx, upload.project, id=upload.id)
        if _is_done(found_now, completion):
            return
        require_pending(found_now, now=parts.clock())
        raise
    parts.artifacts.discard(parts.artifacts.upload_path(upload.id))


def cancel(parts: Wiring, project: str, *, id: str) -> UploadRecord:
    """The upload is cancelled, now or before, and its parts are gone.

    Raises:
        NotFound: the project has no such upload.
        Conflict: it has ended otherwise (`upload_ended`).
    """
    with parts.database.write() as tx:
        upload = uploads.locked(tx, project, id=id)
        if upload.status is not UploadStatus.CANCELLED:
            require_pending(upload, now=parts.clock())
            uploads.end(tx, upload, status=UploadStatus.CANCELLED)
    parts.artifacts.discard(parts.artifacts.upload_path(id))
    return replace(upload, status=UploadStatus.CANCELLED)


def _admit(tx: Tx, parts: Wiring, *, upload: UploadRecord, part: PartRecord) -> None:
    """The upload still takes parts, and this one is not too much; nobody else changes it before the commit."""
    require_pending(uploads.locked(tx, upload.project, id=upload.id), now=part.created_at)
    known = uploads.parts_of(tx, upload.id).values()
    if len(known) >= MAX_PARTS:
        raise ServiceError("too_large", f"the upload has {len(known)} parts, as many as may be; send larger ones")
    limit = _TIMES * upload.num_bytes
    if sum(other.num_bytes for other in known) + part.num_bytes > limit:
        remedy = f"the file was announced with {upload.num_bytes}: begin a new upload"
        raise TooLarge("what the parts hold together", limit, remedy=remedy)
    quotas = parts.settings.quotas
    admit_bytes(tx, upload.project, num_bytes=part.num_bytes, quotas=quotas, now=part.created_at)


def _refuse_ended(upload: UploadRecord, completion: str, *, now: float) -> None:
    """Raise `Repeated` where the same was asked before, `Conflict` where it has ended otherwise."""
    if _is_done(upload, completion):
        raise Repeated(upload.id)
    require_pending(upload, now=now)


def _is_done(upload: UploadRecord, completion: str) -> bool:
    """Whether the same completion was asked for before, and came true."""
    return upload.status is UploadStatus.COMPLETED and upload.completion == completion


def _chosen(upload: UploadRecord, found: dict[str, PartRecord], *, asked: UploadComplete) -> list[PartRecord]:
    """The parts in the order of their bytes, which are as many as were announced.

    One may stand there twice: a client that repeats a part is told of the one that has come, and equal parts look so.
    """
    for id in asked.part_ids:
        if id not in found:
            raise ServiceError("invalid_value", f"part_ids: {id!r} is no part of this upload", param="part_ids")
    chosen = [found[id] for id in asked.part_ids]
    num_bytes = sum(part.num_bytes for part in chosen)
    if num_bytes != upload.num_bytes:
        message = f"part_ids: the parts have {num_bytes} bytes and {upload.num_bytes} were announced; name every part"
        raise ServiceError("invalid_value", message, param="part_ids")
    return chosen


def _keep(
    parts: Wiring, upload: UploadRecord, *, whole: Path, chosen: Sequence[PartRecord], md5: str | None, completion: str
) -> None:
    """The parts are a file of the project, in one transaction with the end of the upload."""
    sha256, found_md5 = _join(parts, upload, whole=whole, chosen=chosen)
    if md5 is not None and md5.lower() != found_md5:
        message = f"the file has the MD5 {found_md5} and md5 says {md5.lower()}; send the parts again"
        raise ServiceError("digest_mismatch", message, param="md5")
    content = Content(
        path=whole,
        filename=upload.filename,
        purpose=upload.purpose,
        mapping=None if upload.mapping is None else FieldMapping.from_dict(upload.mapping),
        num_bytes=upload.num_bytes,
        sha256=sha256,
        metadata=upload.metadata,
    )
    file = checked(content, upload.project, now=parts.clock())

    def end(tx: Tx) -> None:
        locked = uploads.locked(tx, upload.project, id=upload.id)
        _refuse_ended(locked, completion, now=file.created_at)
        uploads.end(tx, locked, status=UploadStatus.COMPLETED, completion=completion, file_id=file.id)

    keep(parts, whole, record=file, first=end)


def _join(parts: Wiring, upload: UploadRecord, *, whole: Path, chosen: Sequence[PartRecord]) -> tuple[str, str]:
    """SHA-256 and MD5 of the parts, which stand one behind the other in the file.

    Raises:
        ArtifactCorrupt: a part is not what has come.
        StorageFull: there is no room.
    """
    of_all, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with disk_errors(), whole.open("xb") as file:
        for part in chosen:
            of_part, path = hashlib.sha256(), parts.artifacts.part_path(upload.id, part.id)
            if path.is_file():
                with path.open("rb") as content:
                    while chunk := content.read(_CHUNK_BYTES):
                        file.write(chunk)
                        for digest in (of_all, md5, of_part):
                            digest.update(chunk)
            if of_part.hexdigest() != part.sha256:
                reason = "is not what has come"
                raise ArtifactCorrupt(upload.id, file=part.id, reason=reason, remedy=UPLOAD_REMEDY)
    return of_all.hexdigest(), md5.hexdigest()
