"""The one task: a doorbell rang."""

import logging
import os
from functools import cache
from typing import Any

from service.store.queue import TASK_NAME
from worker.app import app
from worker.lifecycle import answer
from worker.settings import WorkerSettings
from worker.workshop import Workshop

log = logging.getLogger(__name__)


@cache
def workshop() -> Workshop:
    """The workshop of this process, opened by its first job."""
    return Workshop.open(WorkerSettings.from_env(os.environ))


@app.task(name=TASK_NAME, bind=True)  # type: ignore[untyped-decorator]
def run(task: Any, job_id: str) -> None:
    """The best queued job of the queue that rang was worked on; `job_id` only says that there is one."""
    queue = task.request.delivery_info["routing_key"]
    log.debug("the doorbell of %s rang for %s", queue, job_id)
    answer(workshop, queue)
