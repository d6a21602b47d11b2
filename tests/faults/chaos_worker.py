"""The worker of a chaos run: the product's, with shorter times and another child; loaded by each of its processes.

`python -m celery -A tests.faults.chaos_worker worker …`; a pool process imports it again, for it stands in `include`.
Nothing else imports it: it changes the times of the process that does.
"""

import os
import sys
from dataclasses import replace
from functools import cache

from service.store import jobs, queue, sweep
from tests.faults.chaos_times import BACKOFF_SECONDS, CHILD, LEASE_SECONDS
from worker import pulse, tasks
from worker.app import app, configuration
from worker.settings import WorkerSettings
from worker.workshop import Workshop

# constants of the product, which no setting changes; set here before any of it runs in this process
jobs.LEASE_SECONDS = sweep.LEASE_SECONDS = LEASE_SECONDS  # type: ignore[misc]
jobs.BACKOFF_SECONDS = sweep.BACKOFF_SECONDS = BACKOFF_SECONDS  # type: ignore[misc, assignment]
pulse.HEARTBEAT_SECONDS = 0.7  # type: ignore[misc]
sweep.SWEEP_SECONDS = 0.5  # type: ignore[misc]
sweep.RING_AGAIN_SECONDS = 2.0  # type: ignore[misc]
queue.BROKER_TRANSPORT_OPTIONS = {  # type: ignore[misc]
    **queue.BROKER_TRANSPORT_OPTIONS,
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "health_check_interval": 3,
}


@cache
def workshop() -> Workshop:
    """The workshop of this process, whose children are those of the run."""
    shop = Workshop.open(WorkerSettings.from_env(os.environ))
    return replace(shop, command=(sys.executable, "-m", os.environ[CHILD]))


def hurried() -> dict[str, object]:
    """Celery's settings, with this module among what a pool process loads."""
    return configuration() | {"include": ["worker.tasks", "tests.faults.chaos_worker"]}


app.add_defaults(hurried)
tasks.workshop = workshop
