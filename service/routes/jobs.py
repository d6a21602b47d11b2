"""Jobs: training jobs in OpenAI's shape, and every kind in ours."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Query

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project, Who, require_scope
from service.dependencies import LabelledWindow, Parts, Window, Wiring, object_id
from service.deploying import check_target
from service.given_metadata import METADATA_QUERY
from service.ordering import Orders
from service.references import find_model
from service.rerun import repeated
from service.schemas.job_answers import EstimateAccepted, FineTuningJob, Job, JobEvent
from service.schemas.jobs import Deploy, JobCreate
from service.schemas.lists import Listing
from service.store import deployments, events, jobs, wishes
from service.store.records import JobKind, JobRecord, JobStatus, Page, Scope
from service.store.waiting import queue_positions
from service.submit import submit_training
from service.submit_others import submit_estimate

router = APIRouter(tags=["jobs"], dependencies=KEY_FIRST)
TUNING = "/v1/fine_tuning/jobs"
TuningId = Annotated[str, Depends(object_id("ftjob", "job"))]
Keep = Annotated[Literal["best"] | None, Query(description="what a training that ends early publishes")]
JobId = Annotated[str, Depends(object_id("(?:ftjob|job)", "job"))]


@router.post(TUNING, openapi_extra=described(JobCreate))
def create(
    asked: Annotated[JobCreate, Depends(json_body(JobCreate))],
    parts: Parts,
    project: Project,
    orders: Orders,
    who: Who,
    after: BackgroundTasks,
) -> FineTuningJob:
    """Order a training: checked now, done by a worker; to deploy what comes of it takes a key of scope index too."""
    if asked.method.contrastive.deploy is not None:
        require_scope(who, Scope.INDEX)

    def submit(now: float) -> str:
        insert = orders.insert
        return submit_training(parts.database, parts.lookup, project=project, asked=asked, now=now, insert=insert).id

    id = orders.once(submit)
    after.add_task(parts.sweep.poke)
    return FineTuningJob.of(*_read(parts, project, id))


@router.post(TUNING + "/estimate", status_code=202, openapi_extra=described(JobCreate))
def estimate(
    asked: Annotated[JobCreate, Depends(json_body(JobCreate))],
    parts: Parts,
    project: Project,
    orders: Orders,
    after: BackgroundTasks,
) -> EstimateAccepted:
    """Order an estimate of what a training would take; the job's result says it, and nothing is trained."""

    def submit(now: float) -> str:
        insert = orders.insert
        return submit_estimate(parts.database, parts.lookup, project=project, asked=asked, now=now, insert=insert).id

    id = orders.once(submit)
    after.add_task(parts.sweep.poke)
    return EstimateAccepted(job=id)


@router.get(TUNING, openapi_extra=METADATA_QUERY)
def list_tuning(parts: Parts, project: Project, page: LabelledWindow) -> Listing[FineTuningJob]:
    """Training jobs, newest first; `metadata[key]=value` keeps those that have it."""
    found, more = _page(parts, project, page, kinds=[JobKind.TRAIN])
    return Listing.of([FineTuningJob.of(*job) for job in found], more)


@router.get(TUNING + "/{id}")
def retrieve_tuning(id: TuningId, parts: Parts, project: Project) -> FineTuningJob:
    """One training job."""
    return FineTuningJob.of(*_read(parts, project, id))


@router.post(TUNING + "/{id}/cancel")
def cancel_tuning(
    id: TuningId, parts: Parts, project: Project, after: BackgroundTasks, keep: Keep = None
) -> FineTuningJob:
    """Wish for its end: at once while it waits, at the next chunk while it runs.

    With `keep=best` a training that has made steps ends after the one in hand, and goes on as any other: the best of
    them is judged and published, and the job is `succeeded`. One that has made none is cancelled.
    """
    after.add_task(parts.sweep.poke)
    return FineTuningJob.of(*_cancel(parts, project, id, keep=keep))


@router.post(TUNING + "/{id}/rerun")
def rerun(
    id: TuningId, parts: Parts, project: Project, who: Who, orders: Orders, after: BackgroundTasks
) -> FineTuningJob:
    """Order a training that has ended once more, with what was chosen for every `auto` then; a new job, a new model."""
    with parts.database.read() as tx:
        record = jobs.get(tx, project, id=id)
    deploy = None if record.spec.get("deploy") is None else Deploy.model_validate(record.spec["deploy"], strict=False)
    if deploy is not None:
        require_scope(who, Scope.INDEX)
    model = find_model(parts.lookup, project, name=record.spec["model"], param=None)
    width = None if model is None else parts.lookup.dimensions(model)

    def submit(now: float) -> str:
        job = repeated(record, now=now)
        with parts.database.write() as tx:
            check_target(tx, project, deploy=deploy, width=width)  # it may have gone, or have another model by now
            orders.insert(tx, job)
        return job.id

    made = orders.of(id).once(submit)
    after.add_task(parts.sweep.poke)
    return FineTuningJob.of(*_read(parts, project, made))


@router.post(TUNING + "/{id}/pause")
def pause_tuning(id: TuningId, parts: Parts, project: Project) -> FineTuningJob:
    """Wish for a pause: at once while it waits, after the last finished step while it runs; nothing of it is lost."""
    with parts.database.write() as tx:
        return FineTuningJob.of(wishes.request_pause(tx, project, id=id, now=parts.clock()), None)


@router.post(TUNING + "/{id}/resume")
def resume_tuning(id: TuningId, parts: Parts, project: Project, after: BackgroundTasks) -> FineTuningJob:
    """Let a paused job wait for a worker again; a pause that was only wished for is withdrawn, other jobs stay."""
    after.add_task(parts.sweep.poke)
    return FineTuningJob.of(*_resume(parts, project, id))


@router.get(TUNING + "/{id}/events")
def list_events(id: TuningId, parts: Parts, project: Project, page: Window) -> Listing[JobEvent]:
    """What happened to the job, newest first."""
    cursor = None if page.after is None else page.after.removeprefix("ftevent-")
    with parts.database.read() as tx:
        jobs.get(tx, project, id=id)
        records, more = events.page(tx, id, page=replace(page, after=cursor))
    return Listing.of([JobEvent.of(record) for record in records], more)


@router.get("/v1/jobs", openapi_extra=METADATA_QUERY)
def list_jobs(
    parts: Parts,
    project: Project,
    page: LabelledWindow,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
) -> Listing[Job]:
    """Jobs of every kind, or of one, in any status, or in one, newest first."""
    kinds = list(JobKind) if kind is None else [kind]
    found, more = _page(parts, project, page, kinds=kinds, status=status)
    return Listing.of([Job.of(*job) for job in found], more)


@router.get("/v1/jobs/{id}")
def retrieve_job(id: JobId, parts: Parts, project: Project) -> Job:
    """One job of any kind."""
    return Job.of(*_read(parts, project, id))


@router.post("/v1/jobs/{id}/pause")
def pause_job(id: JobId, parts: Parts, project: Project) -> Job:
    """Wish for a pause of a job of any kind."""
    with parts.database.write() as tx:
        return Job.of(wishes.request_pause(tx, project, id=id, now=parts.clock()), None)


@router.post("/v1/jobs/{id}/resume")
def resume_job(id: JobId, parts: Parts, project: Project, after: BackgroundTasks) -> Job:
    """Let a paused job of any kind wait for a worker again."""
    after.add_task(parts.sweep.poke)
    return Job.of(*_resume(parts, project, id))


@router.post("/v1/jobs/{id}/cancel")
def cancel_job(id: JobId, parts: Parts, project: Project, after: BackgroundTasks, keep: Keep = None) -> Job:
    """Wish for the end of a job of any kind; `keep=best` is for trainings."""
    after.add_task(parts.sweep.poke)
    return Job.of(*_cancel(parts, project, id, keep=keep))


def _read(parts: Wiring, project: str, id: str) -> tuple[JobRecord, int | None]:
    """The job and its place in the queue."""
    with parts.database.read() as tx:
        [record] = deployments.followed(tx, [jobs.get(tx, project, id=id)])
        return record, queue_positions(tx, [record]).get(id)


def _page(
    parts: Wiring, project: str, page: Page, *, kinds: Sequence[JobKind], status: JobStatus | None = None
) -> tuple[list[tuple[JobRecord, int | None]], bool]:
    with parts.database.read() as tx:
        records, more = jobs.page(tx, project, kinds=kinds, page=page, status=status)
        places = queue_positions(tx, records)
        return [(record, places.get(record.id)) for record in deployments.followed(tx, records)], more


def _cancel(parts: Wiring, project: str, id: str, *, keep: str | None) -> tuple[JobRecord, int | None]:
    wish = wishes.request_cancel if keep is None else wishes.request_keep
    with parts.database.write() as tx:
        record = wish(tx, project, id=id, now=parts.clock())
        return record, queue_positions(tx, [record]).get(id)


def _resume(parts: Wiring, project: str, id: str) -> tuple[JobRecord, int | None]:
    with parts.database.write() as tx:
        record = wishes.request_resume(tx, project, id=id, now=parts.clock())
        return record, queue_positions(tx, [record]).get(id)
