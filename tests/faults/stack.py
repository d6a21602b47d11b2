"""Broker, network, database and two workers of a chaos run, and what a fault has to find: which process is which."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from service.store import catalog, events, files, jobs
from service.store.artifacts import Artifacts
from service.store.database import Database, migrate
from service.store.queue import QUEUE_OF
from service.store.records import (
    DEFAULT_PROJECT,
    EventRecord,
    FilePurpose,
    FileRecord,
    JobKind,
    JobRecord,
    JobStatus,
    ModelRecord,
    Page,
    Phase,
    new_id,
)
from service.valkey import find_program
from tests.end_to_end.processes import Processes, free_port, until
from tests.faults.chaos_times import CHILD
from tests.faults.proxy import Proxy

ROOT = Path(__file__).parents[2]
QUEUE = QUEUE_OF[JobKind.TRAIN]
BASE = "acme/tiny"
WORKERS = ("first", "second")
ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
NEVER_GIVEN_UP = 1_000
"""Losses: a chaos run loses more attempts of a job than a machine in a year."""

_FLAGS = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")


@dataclass
class Stack:
    """What runs, and how many workers of each name have been started."""

    folder: Path
    child: str
    """The module that the workers run as the child."""
    processes: Processes
    broker_port: int
    proxy: Proxy
    database: Database
    artifacts: Artifacts
    starts: dict[str, int] = field(default_factory=dict)

    @property
    def models_root(self) -> Path:
        """The base models."""
        return self.folder / "base"

    @property
    def direct_url(self) -> str:
        """The broker, past the faulty network."""
        return f"redis://127.0.0.1:{self.broker_port}/0"

    @property
    def environment(self) -> dict[str, str]:
        """Of a worker."""
        return {
            "INFONCE_DATABASE_URL": database_url(self.folder),
            "INFONCE_BROKER_URL": f"redis://127.0.0.1:{self.proxy.port}/0",
            "INFONCE_ARTIFACTS": str(self.artifacts.root),
            "INFONCE_MODELS": str(self.models_root),
            "INFONCE_THREADS": "1",
            "INFONCE_HUB": "off",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.folder / "tmp"),
            CHILD: self.child,
        }

    def tend(self) -> int:
        """Each worker runs; returns how many had to be started, as a supervisor or compose would."""
        dead = [name for name in WORKERS if self.worker(name) is None]
        for name in dead:
            self.starts[name] = number = self.starts.get(name, 0) + 1
            self.processes.running.pop(f"{name}-{number - 1}", None)
            celery = [sys.executable, "-m", "celery", "-A", "tests.faults.chaos_worker", "worker"]
            flags = ["--queues", QUEUE, "--hostname", f"{name}@%h", *_FLAGS]
            self.processes.start(f"{name}-{number}", [*celery, *flags], environment=self.environment)
        return len(dead)

    def worker(self, name: str) -> int | None:
        """The process id of that worker's main process, if it runs."""
        process = self.processes.running.get(f"{name}-{self.starts.get(name, 0)}")
        return process.pid if process is not None and process.poll() is None else None

    def workers(self) -> list[int]:
        """Main processes."""
        return [pid for name in WORKERS if (pid := self.worker(name)) is not None]

    def trainings(self) -> list[tuple[int, int]]:
        """(child, the pool process that runs it) of each attempt at work."""
        return [
            (child, pool)
            for worker in self.workers()
            for pool in children(worker)
            for child in children(pool)
            if self.child in command_line(child)
        ]

    def submit(self, content: bytes, *, spec: dict[str, object], priority: int = 0) -> str:
        """The id of a new training that waits; its file has this content."""
        now = time.time()
        file = FileRecord(
            id=new_id("file"), project=DEFAULT_PROJECT, created_at=now, filename="pairs.jsonl",
            purpose=FilePurpose.FINE_TUNE, num_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(), counts={"pairs": 1},
        )  # fmt: skip
        self.artifacts.file_path(file.id).write_bytes(content)
        full = {
            "model": BASE, "training_file": file.id, "validation_file": None, "evaluation_file": None,
            "suffix": "chaos", "config": {}, "encoder": {}, "evaluation": {"held_out": 0, "ks": [10]}, **spec,
        }  # fmt: skip
        job = JobRecord(
            id=new_id("ftjob"), project=DEFAULT_PROJECT, kind=JobKind.TRAIN, status=JobStatus.QUEUED,
            phase=Phase.WAITING, created_at=now, spec=full, max_losses=NEVER_GIVEN_UP, priority=priority,
        )  # fmt: skip
        with self.database.write() as tx:
            files.insert_file(tx, file)
            jobs.insert(tx, job)
        return job.id

    def jobs(self) -> list[JobRecord]:
        """All of them, the oldest first."""
        with self.database.read() as tx:
            return jobs.page(tx, DEFAULT_PROJECT, kinds=[JobKind.TRAIN], page=Page(limit=100, descending=False))[0]

    def events(self, id: str) -> list[EventRecord]:
        """Everything that happened to the job, in order."""
        found: list[EventRecord] = []
        with self.database.read() as tx:
            more = True
            while more:
                after = str(found[-1].id) if found else None
                rows, more = events.page(tx, id, page=Page(limit=100, descending=False, after=after))
                found += rows
        return found

    def models(self) -> list[ModelRecord]:
        """All that were published."""
        with self.database.read() as tx:
            return catalog.page_models(tx, DEFAULT_PROJECT, page=Page(limit=100))[0]


def database_url(folder: Path) -> str:
    """Where a run keeps its rows."""
    return f"sqlite:///{folder}/infonce.db"


@contextmanager
def running_stack(folder: Path, *, child: str) -> Iterator[Stack]:
    """A stack with no job and no worker yet; all that it started has ended afterwards, and says so if it cannot."""
    url = database_url(folder)
    (folder / "tmp").mkdir()
    migrate(url)
    artifacts = Artifacts(folder / "artifacts")
    artifacts.prepare()
    model = folder / "base" / BASE
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    database, port = Database.open(url), free_port()
    with Processes(folder) as processes, Proxy(port) as proxy:
        processes.start("broker", [str(find_program()), "--port", str(port), "--save", ""], environment={})
        processes.wait_for("broker", lambda: answers(port))
        stack = Stack(
            folder=folder, child=child, processes=processes, broker_port=port, proxy=proxy, database=database,
            artifacts=artifacts,
        )  # fmt: skip
        try:
            yield stack
        finally:
            end_workers(stack)
            database.close()


def end_workers(stack: Stack) -> None:
    """No worker is left and none of its children; one that does not end within 20 s of SIGTERM is an error."""
    left = [*(pool for _, pool in stack.trainings()), *(child for child, _ in stack.trainings())]
    for name in WORKERS:
        if (pid := stack.worker(name)) is not None:
            for pool in children(pid):
                send(pool, signal.SIGCONT)
            stack.processes.end(f"{name}-{stack.starts[name]}")
        stack.processes.running.pop(f"{name}-{stack.starts.get(name, 0)}", None)
    until(lambda: not any(is_alive(pid) for pid in left), "the end of every child", seconds=10)


def answers(port: int) -> bool:
    """Whether a broker takes commands there."""
    with redis.Redis(port=port, socket_timeout=1.0) as broker:
        try:
            return bool(broker.ping())
        except redis.RedisError:
            return False


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def command_line(pid: int) -> str:
    """Empty if there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    return bool(command_line(pid))


def send(pid: int, number: int) -> bool:
    """Whether the process was still there to get the signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
