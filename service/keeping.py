"""Files that are to be kept: bytes in their place and a row that names them, or neither."""

from pathlib import Path

from service.dependencies import Wiring
from service.quotas import admit_bytes
from service.repetition import Repetition
from service.store import files
from service.store.records import FileRecord


def keep(parts: Wiring, part: Path, *, record: FileRecord, repetition: Repetition, digest: str) -> str:
    """The part file is the record's, and the project has it; returns its id.

    Raises:
        Repeated, Conflict: another request with the same key was faster.
        ServiceError: the project would have stored more than it may (`storage_quota`).
        StorageFull: there is no room.
    """
    target = parts.artifacts.file_path(record.id)
    parts.artifacts.publish(part, target)
    recorded = False
    try:
        with parts.database.write() as tx:
            repetition.remember(tx, digest, object_id=record.id)  # first: who comes second is not too much
            quotas = parts.settings.quotas
            admit_bytes(tx, record.project, num_bytes=record.num_bytes, quotas=quotas, now=record.created_at)
            files.insert_file(tx, record)
        recorded = True
    finally:
        if not recorded:
            parts.artifacts.discard(target)
    return record.id
