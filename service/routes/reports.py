"""What a training has come to: its curve, the model that it made, its report for programs and as a page for people.

Two addresses instead of one that looks at `Accept`: the page's can be opened, saved and sent on as it is, and neither
is another thing to a cache, a browser and `curl`.
"""

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Window, Wiring, object_id
from service.errors import ServiceError
from service.etags import not_modified, tag_of
from service.reports import read_page, read_report
from service.schemas.lists import Listing
from service.schemas.progress_answers import JobCheckpoint, JobMetrics
from service.store import catalog, curves, jobs
from service.store.errors import BadCursor, NotFound
from service.store.records import JobStatus

router = APIRouter(tags=["jobs"], dependencies=KEY_FIRST)
TuningId = Annotated[str, Depends(object_id("ftjob", "job"))]

_PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""Nothing is loaded and nothing runs, whatever the page holds; it says the same itself and names its one style sheet,
so that this holds for a copy too."""
_UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "If-None-Match names the ETag that it has"}}


@router.get("/v1/fine_tuning/jobs/{id}/report")
def report(id: TuningId, parts: Parts, project: Project) -> dict[str, Any]:
    """The report of a job that succeeded: settings, losses, metrics of base and tuned model, verdict."""
    return read_report(_folder(parts, project, id=id))


@router.get("/v1/fine_tuning/jobs/{id}/report.html", response_class=HTMLResponse, responses=_UNCHANGED)
def report_page(id: TuningId, request: Request, parts: Parts, project: Project) -> Response:
    """The same report as one page for people, which loads nothing."""
    page = read_page(parts.artifacts, _folder(parts, project, id=id))
    headers = {**_PAGE_HEADERS, "etag": tag_of(page)}
    return not_modified(request, headers) or HTMLResponse(page, headers=headers)


@router.get("/v1/fine_tuning/jobs/{id}/checkpoints")
def list_checkpoints(id: TuningId, parts: Parts, project: Project, page: Window) -> Listing[JobCheckpoint]:
    """The models of a training that are ready to use: the one that it has published, after the step that was the best.

    What a running job saves to go on from is no model yet, and is not listed.
    """
    found = _checkpoints(parts, project, id=id)
    if page.after is None:
        return Listing.of(found, False)
    if page.after not in [checkpoint.id for checkpoint in found]:
        raise BadCursor(page.after)
    return Listing.of([], False)


@router.get("/v1/fine_tuning/jobs/{id}/metrics")
def metrics(id: TuningId, parts: Parts, project: Project) -> JobMetrics:
    """The curve of a training in columns, also while it runs: at most 2,000 steps, evenly spaced, the last included."""
    with parts.database.read() as tx:
        record, curve = jobs.get(tx, project, id=id), curves.read(tx, id)
    if record.status is JobStatus.SUCCEEDED:
        curve = read_report(_folder(parts, project, id=id))["curve"]
    return JobMetrics.of(id, curve)


def _checkpoints(parts: Wiring, project: str, *, id: str) -> list[JobCheckpoint]:
    with parts.database.read() as tx:
        record = jobs.get(tx, project, id=id)
        if record.status is not JobStatus.SUCCEEDED:
            return []
        try:
            model = catalog.get_model(tx, project, id=record.result["model"])
        except NotFound:  # it was deleted since
            return []
    return [JobCheckpoint.of(model, read_report(parts.artifacts.model_path(model.folder)))]


def _folder(parts: Wiring, project: str, *, id: str) -> Path:
    """Where the model of a job that succeeded lies."""
    with parts.database.read() as tx:
        record = jobs.get(tx, project, id=id)
        if record.status is not JobStatus.SUCCEEDED:
            raise ServiceError("not_ready", f"job {id} is {record.status}; it has a report once it is succeeded")
        model = catalog.get_model(tx, project, id=record.result["model"])
    return parts.artifacts.model_path(model.folder)
