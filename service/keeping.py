"""Files that are to be kept: read to the last line, then bytes in their place and a row that names them, or neither."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from infonce.apart import check_foreign_beir, check_foreign_pairs
from infonce.dialects import FieldMapping
from infonce.documents import check_documents
from service.dependencies import Wiring
from service.errors import InvalidInput, Place
from service.quotas import admit_bytes
from service.store import files
from service.store.database import Tx
from service.store.records import FilePurpose, FileRecord, new_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A whole file as it came, in one body or in parts."""

    path: Path
    filename: str
    purpose: FilePurpose
    mapping: FieldMapping | None
    num_bytes: int
    sha256: str
    metadata: Mapping[str, str]


def checked(content: Content, project: str, *, now: float) -> FileRecord:
    """What is to be recorded of the file, every line of which was read.

    Raises:
        DatasetError, ConfigError: a line of it is broken, or does not fit the mapping.
        InvalidInput: the mapping is for pairs alone.
    """
    return FileRecord(
        id=new_id("file"),
        project=project,
        created_at=now,
        filename=content.filename,
        purpose=content.purpose,
        num_bytes=content.num_bytes,
        sha256=content.sha256,
        counts=_counts(content.path, content.purpose, mapping=content.mapping),
        mapping=None if content.mapping is None else content.mapping.to_dict(),
        metadata=content.metadata,
    )


def keep(parts: Wiring, part: Path, *, record: FileRecord, first: Callable[[Tx], None]) -> str:
    """The part file is the record's, and the project has it; returns its id.

    `first` begins the transaction: who comes second is not too much.

    Raises:
        Repeated, Conflict: another request was faster, as `first` finds.
        ServiceError: the project would have stored more than it may (`storage_quota`).
        StorageFull: there is no room.
    """
    target = parts.artifacts.file_path(record.id)
    parts.artifacts.publish(part, target)
    recorded = False
    try:
        with parts.database.write() as tx:
            first(tx)
            quotas = parts.settings.quotas
            admit_bytes(tx, record.project, num_bytes=record.num_bytes, quotas=quotas, now=record.created_at)
            files.insert_file(tx, record)
        recorded = True
    finally:
        if not recorded:
            parts.artifacts.discard(target)
    return record.id


def _counts(path: Path, purpose: FilePurpose, *, mapping: FieldMapping | None) -> dict[str, int]:
    """What the file holds, after every line of it was read."""
    if purpose is FilePurpose.FINE_TUNE:
        return asdict(check_foreign_pairs(path, mapping=mapping))
    if mapping is not None:
        detail = "mapping is for pairs; judgements and documents have fields of their own; leave it out"
        raise InvalidInput([Place(code="invalid_value", pointer="/mapping", detail=detail)], param="mapping")
    return asdict(check_documents(path) if purpose is FilePurpose.CORPUS else check_foreign_beir(path))
