"""The heartbeat of one attempt: keeps its lease, hears wishes, and carries what the child says into the database.

It runs beside the work, in a thread, so that nothing slow (a download, a checksum, a database that is away) makes
another worker believe that this one is dead, and no outage of the database holds up the training.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from service.store import curves, events, jobs, versions
from service.store.changes import Embedded
from service.store.database import Database, Tx, now_of
from service.store.errors import DatabaseUnavailable, StorageFull
from service.store.events import NewEvent
from service.store.records import JobKind, JobRecord, JobStatus, Phase
from worker.early import EarlyVectors
from worker.progress import MessageType

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 10.0  # a sixth of the lease: five may be lost before another worker takes over
FLUSH_SECONDS: Final = 0.5  # what a child says is readable, and a wish is heard, within a second
OUTAGE_SECONDS: Final = (1.0, 5.0)  # between two tries while the database is away, drawn so that workers spread
FILES_AT_ONCE: Final = 4  # of vectors, a thousand documents: other writers wait for tens of milliseconds
MORE_SECONDS: Final = 0.05  # before the next of them
MAX_PENDING_EVENTS: Final = 1_000  # while the database is away; those that come later are lost

MAX_CURVE_POINTS: Final = 2_000
_OF_THE_CURVE: Final = frozenset({"learning_rate", "grad_norm", "temperature", "num_tokens", "elapsed_seconds"})
_OF_PROGRESS: Final = frozenset({"percent"})


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What the child said and the database does not have yet: the newest values, and every event."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """phase, progress, resolved, saved_step"""
    events: tuple[Mapping[str, Any], ...] = ()
    points: tuple[Mapping[str, Any], ...] = ()
    """Of the training's curve."""
    early: tuple[Path, ...] = ()
    """Files of vectors."""

    def __bool__(self) -> bool:
        return bool(self.values or self.events or self.early)

    def without(self, delivered: "News") -> "News":
        """What came after `delivered` was taken."""
        values = {name: value for name, value in self.values.items() if delivered.values.get(name) is not value}
        points, early = self.points[len(delivered.points) :], self.early[len(delivered.early) :]
        return News(values=values, events=self.events[len(delivered.events) :], points=points, early=early)


class Pulse:
    """Beats from entering the context until `stop`; its flags may be read at any time."""

    def __init__(self, database: Database, job: JobRecord) -> None:
        self.fenced = False
        """Another attempt owns the job: kill the child and write nothing."""
        self.cancel_requested = False
        self.pause_requested = False
        self.keep_requested = False
        self._database = database
        self._job = job
        self._news = News()
        self._resolved: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._last_beat = time.monotonic()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pulse")
        self._beating: Future[None] | None = None

    def __enter__(self) -> Self:
        known = copy_context()  # of the log: what this thread says is of the same job
        self._beating = self._executor.submit(known.run, self._beat_until_stopped)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._executor.shutdown()

    def stop(self) -> None:
        """The thread has ended; what it did not deliver goes with the next `commit`.

        But for vectors: the index of the job has them, or another attempt tells them.
        """
        self._stop.set()
        self._executor.shutdown()
        self._news = replace(self._news, early=())

    def check(self) -> None:
        """Raise what broke the thread, if something did: without a heartbeat the work is in vain."""
        if self._beating is not None and self._beating.done():
            self._beating.result()

    def tell(self, type: MessageType, body: Mapping[str, Any]) -> None:
        """What the child said will be in the database within a second, or as soon as that is back."""
        with self._lock:
            values, events, points = dict(self._news.values), self._news.events, self._news.points
            early = self._news.early
            if type is MessageType.PHASE:
                values |= {"phase": Phase(body["phase"]), "progress": {}}  # the steps told so far were another phase's
            elif type is MessageType.PROGRESS:
                values["progress"] = {name: value for name, value in body.items() if name not in _OF_THE_CURVE}
                if body.keys() >= _OF_THE_CURVE and self._job.kind is JobKind.TRAIN and is_told(body):
                    points = (*points, {name: value for name, value in body.items() if name not in _OF_PROGRESS})
            elif type is MessageType.RESOLVED:
                self._resolved |= body.get("values", {})
                values["resolved"] = dict(self._resolved)
            elif type is MessageType.SAVED:
                values["saved_step"] = body["step"]
            elif type is MessageType.VECTORS:
                early = (*early, Path(body["path"]))
            elif len(events) < MAX_PENDING_EVENTS:
                events = (*events, {**body, "at": time.time()})
            self._news = News(values=values, events=events, points=points, early=early)

    def commit(self, end: Callable[[Tx, float], bool] = lambda tx, now: True) -> bool:
        """One transaction renewed the lease, wrote the news and did `end`; False if the attempt is fenced.

        Raises:
            DatabaseUnavailable: nothing was written, as far as can be known.
        """
        with self._lock:
            news = replace(self._news, early=self._news.early[:FILES_AT_ONCE])
        early = [EarlyVectors.load(path) for path in news.early]
        with self._database.write() as tx:
            now = now_of(tx)
            beat = jobs.heartbeat(tx, self._job.id, attempt=self._job.attempt, now=now, update=news.values)
            if beat is None:
                return False
            for event in news.events:
                self._append(tx, event)
            curves.add(tx, self._job.id, points=news.points)
            for one in early:
                embedded = Embedded(fingerprint=one.fingerprint, vectors=one.vectors)
                versions.keep_early_vectors(
                    tx, one.collection, model=one.model, embedded=embedded, made_of=one.sequences
                )
            if not end(tx, now):
                return False
        self._last_beat = time.monotonic()
        self._hear(beat)
        with self._lock:
            self._news = self._news.without(news)
        for path in news.early:
            path.unlink(missing_ok=True)
        return True

    def _hear(self, wishes: jobs.Heartbeat | JobRecord) -> None:
        self.cancel_requested, self.pause_requested = wishes.cancel_requested, wishes.pause_requested
        self.keep_requested = wishes.keep_requested

    def _append(self, tx: Tx, said: Mapping[str, Any]) -> None:
        event = NewEvent(
            job_id=self._job.id,
            attempt=self._job.attempt,
            at=said["at"],
            level=str(said.get("level", "info")),
            type=str(said.get("event", "note")),
            message=str(said.get("message", "")),
            data=said.get("data") or {},
        )
        events.append(tx, event)

    def _beat_until_stopped(self) -> None:
        pause = FLUSH_SECONDS
        while not self._stop.wait(pause) and not self.fenced:
            try:
                self._beat()
                pause = MORE_SECONDS if self._news.early else FLUSH_SECONDS
            except (DatabaseUnavailable, StorageFull) as error:
                pause = random.uniform(*OUTAGE_SECONDS)
                log.warning("job %s: the database is away, work goes on: %s", self._job.id, error)

    def _beat(self) -> None:
        """Write if there is news or a heartbeat is due; else only look for a wish."""
        if self._news or time.monotonic() - self._last_beat >= HEARTBEAT_SECONDS:
            self.fenced = not self.commit()
            return
        with self._database.read() as tx:
            job = jobs.get(tx, self._job.project, id=self._job.id)
        self._hear(job)
        self.fenced = job.attempt != self._job.attempt or job.status is not JobStatus.RUNNING


def is_told(step: Mapping[str, Any]) -> bool:
    """Whether the step stands in the curve: at most 2,000 evenly spaced ones do, the last one among them."""
    total = int(step["total_steps"])
    return (total - int(step["step"])) % max(1, math.ceil(total / MAX_CURVE_POINTS)) == 0
