"""What is told of every export, of whatever it is."""

from typing import Any

from service.schemas.job_answers import JobFailure
from service.store.exports import ExportRecord
from service.store.records import JobRecord


def told_of(record: ExportRecord, job: JobRecord, *, now: float) -> dict[str, Any]:
    """How far it is and what can be fetched, by the fields of an answer."""
    is_over = record.expires_at is not None and (record.folder is None or record.expires_at <= now)
    there = record.folder is not None and not is_over
    return {
        "id": record.id,
        "created_at": int(record.created_at),
        "job": job.id,
        "status": "expired" if is_over else job.status.value,
        "bytes": record.num_bytes if there else None,
        "sha256": record.sha256,
        "expires_at": None if record.expires_at is None else int(record.expires_at),
        "metadata": dict(record.metadata),
        "error": None if job.error is None else JobFailure.of(job.error),
    }
