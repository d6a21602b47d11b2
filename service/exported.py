"""The bytes of an export as an answer, whatever was exported."""

from starlette.requests import Request
from starlette.responses import Response

from service.dependencies import Wiring
from service.errors import ServiceError
from service.store.errors import Conflict
from service.store.exports import ExportRecord
from service.store.records import JobRecord, JobStatus
from service.stored_content import content_of


def exported(
    request: Request, parts: Wiring, *, record: ExportRecord, job: JobRecord, file: str, name: str
) -> Response:
    """The export's `file`, sent under that name; a `Range` of it where one is asked for.

    Raises:
        Conflict: it is not made yet, or never will be (`not_ready`).
        ServiceError: its time is over.
    """
    if record.expires_at is None:
        raise _not_there(record, job)
    if record.folder is None or record.sha256 is None or record.expires_at <= parts.clock():
        raise ServiceError("not_found", f"The export {record.id} was kept for a day and is gone; order it again")
    path = parts.artifacts.export_path(record.folder) / file
    return content_of(request, path, name=name, num_bytes=record.num_bytes, sha256=record.sha256)


def _not_there(record: ExportRecord, job: JobRecord) -> Conflict:
    if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        return Conflict("not_ready", f"The export {record.id} has no content: its job {job.id} {job.status}")
    return Conflict("not_ready", f"The export {record.id} is not made yet; see its job {job.id}")
