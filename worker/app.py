"""The Celery application: the queue is a doorbell, so everything that Celery does for reliability is switched off.

The main process keeps the sweep running and tells its pool process, through a file, when it shuts down.
"""

import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from infonce.logs import level_of, write_logs
from service.store.database import Database
from service.store.errors import QueueUnavailable, StoreError
from service.store.queue import Doorbell, broker_settings
from service.store.settings import StoreSettings
from service.store.sweep import Sweep, unring_queues
from worker.presence import Presence
from worker.settings import DRAIN_FILE, WORKER_PID, WorkerSettings

log = logging.getLogger(__name__)


def configuration() -> dict[str, Any]:
    """Celery's settings, each with its reason; read when the first of them is needed, not at import."""
    broker_url = StoreSettings.from_env(os.environ).require_broker()
    return broker_settings(broker_url) | {
        "include": ["worker.tasks"],
        # acknowledged when received: late acknowledgement on Redis runs long tasks twice and repeats deadly ones
        # for ever; the lease in the database and the sweep do better what it is meant for
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        # no message is held back by a busy worker while another one is idle
        "worker_disable_prefetch": True,
        # 0 is no limit beside that one: an acknowledgement that the network swallowed counts for ever as a message
        # at work, and a worker with a limit of one would never take another
        "worker_prefetch_multiplier": 0,
        "worker_concurrency": 1,  # one job at a time has the processor or the GPU to itself
        "worker_pool": "prefork",  # solo answers no signal while a task runs
        "worker_pool_start_method": "spawn",  # a fork would inherit sockets of database and broker
        "worker_max_tasks_per_child": None,
        "worker_lost_wait": 10.0,
        # a pool process imports for a second on a quiet machine; 4 s, the default, killed it beside a busy trainer
        "worker_proc_alive_timeout": 60.0,
        # limits of time belong to the lifecycle: Celery's kill without a word
        "task_time_limit": None,
        "task_soft_time_limit": None,
        "broker_connection_retry_on_startup": True,
        "broker_connection_retry": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # the broker is not needed while a job runs
        # the drain file does it: a soft shutdown sleeps inside the signal handler
        "worker_soft_shutdown_timeout": 0.0,
        "worker_enable_soft_shutdown_on_idle": False,
        # revokes live in a worker's memory and events in nobody's: both are rows in the database here
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
    }


app = Celery("infonce", set_as_current=True)
app.add_defaults(configuration)


class MainProcess:
    """What runs in a worker's main process beside Celery: the sweep, and the sign that it shuts down."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._drain_path: Path | None = None
        self._parts: tuple[Database, Doorbell] | None = None
        self._presence: Presence | None = None

    def prepare(self, **_: Any) -> None:
        """The pool process will inherit where the sign of the shutdown appears and who its parent is."""
        self._drain_path = Path(tempfile.gettempdir()) / f"infonce-drain-{uuid4().hex}"
        os.environ[DRAIN_FILE] = str(self._drain_path)
        os.environ[WORKER_PID] = str(os.getpid())

    def clear(self, sender: Any, **_: Any) -> None:
        """No old message is in this worker's queues, and the sweep rings anew for the jobs that wait.

        A message that nobody can parse ends Celery, and one whose body is broken comes back and does so at every
        start. Bells are worth nothing, so all of them go.
        """
        settings, queues = StoreSettings.from_env(os.environ), list(sender.app.amqp.queues.consume_from)
        try:
            database, doorbell = Database.open(settings.database_url), Doorbell(settings.require_broker())
            self._parts = database, doorbell
            owner = WorkerSettings.from_env(os.environ).owner
            self._presence = Presence(database, owner, queues=tuple(queues), began_at=time.time())
            doorbell.clear(queues)
            with database.write() as tx:
                unring_queues(tx, queues)
        except QueueUnavailable as error:
            log.warning("old messages could not be dropped: %s", error)
        except StoreError as error:
            raise SystemExit(f"infonce worker: {error}") from error

    def begin(self, **_: Any) -> None:
        """The sweep runs, and whoever waits for this worker knows that it takes jobs."""
        assert self._parts is not None and self._presence is not None, "Celery says that it begins before it is ready"
        database, doorbell = self._parts
        sweep = Sweep(database, doorbell.ring, chores=[self._presence.show])
        threading.Thread(target=sweep.run, args=(self._stop,), name="sweep", daemon=True).start()
        if (path := WorkerSettings.from_env(os.environ).ready_path) is not None:
            path.touch()

    def drain(self, **_: Any) -> None:
        """No job is begun any more and the running one is given back."""
        self._stop.set()
        if self._drain_path is not None:
            self._drain_path.touch()

    def end(self, **_: Any) -> None:
        """The sign is taken away again, and nobody counts on this worker."""
        if self._drain_path is not None:
            self._drain_path.unlink(missing_ok=True)
        if self._presence is not None:
            self._presence.end()


def take_over_the_log(**_: Any) -> None:
    """Celery's lines go the way of ours, in the main process and in the pool's; who listens here keeps it from its own.

    Raises:
        ConfigError: `INFONCE_LOG_LEVEL` is no level.
    """
    write_logs(sys.stderr, level=level_of(os.environ))


def stay_with_parent(**_: Any) -> None:
    """End a pool process whose worker died while it was starting, before the kernel could be asked to do it."""
    main_pid = os.environ.get(WORKER_PID)
    if main_pid is not None and os.getppid() != int(main_pid):
        os._exit(1)


main_process = MainProcess()
setup_logging.connect(take_over_the_log)
worker_init.connect(main_process.prepare)
worker_init.connect(main_process.clear)
worker_ready.connect(main_process.begin)
worker_shutting_down.connect(main_process.drain)
worker_shutdown.connect(main_process.end)
worker_process_init.connect(stay_with_parent)
