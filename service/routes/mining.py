"""Mining: a file of pairs and a model become a new file with hard negatives."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends

from service.bodies import described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts
from service.ordering import Orders
from service.schemas.job_answers import Job
from service.schemas.mining import MiningCreate
from service.store import jobs
from service.store.waiting import queue_positions
from service.submit_others import submit_mining

router = APIRouter(prefix="/v1/mining", tags=["mining"], dependencies=KEY_FIRST)


@router.post("", status_code=202, openapi_extra=described(MiningCreate))
def create(
    asked: Annotated[MiningCreate, Depends(json_body(MiningCreate))],
    parts: Parts,
    project: Project,
    orders: Orders,
    after: BackgroundTasks,
) -> Job:
    """Order a new file of the same pairs with hard negatives; `result_files` names it once the job has succeeded."""

    def submit(now: float) -> str:
        job = submit_mining(parts.database, parts.lookup, project=project, asked=asked, now=now, insert=orders.insert)
        return job.id

    id = orders.once(submit)
    after.add_task(parts.sweep.poke)
    with parts.database.read() as tx:
        record = jobs.get(tx, project, id=id)
        return Job.of(record, queue_positions(tx, [record]).get(id))
