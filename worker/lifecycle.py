"""One attempt from claim to end: the parent's side, torch-free.

It claims the best queued job, writes its order, runs a child, relays what that says, publishes and commits under the
attempt number. Whatever happens in here, no process of the child's is left and no exception comes out.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from infonce import errors
from infonce.logs import at_work_on
from service.store import events, jobs
from service.store.database import Tx, now_of
from service.store.errors import DatabaseUnavailable, StorageFull
from service.store.records import JobError, JobKind, JobRecord, JobStatus, Phase
from worker.failures import NAN_LOSS, describe, without_paths
from worker.finished import Publication
from worker.orders import ask_to_finish, clean, forget, write_order
from worker.process import ChildProcess, Message, child_environment
from worker.progress import MessageType
from worker.publish import publish
from worker.pulse import OUTAGE_SECONDS, Pulse
from worker.spans import AttemptSpans
from worker.workshop import Workshop

log = logging.getLogger(__name__)

LISTEN_SECONDS: Final = 0.2
STOP_SECONDS: Final = 5.0
"""How long a child may take to drop its unfinished step; then it is killed."""
SAVE_SECONDS: Final = 10.0
"""The same where the job will go on: a state of 1 GB is written in this time, and the whole stack ends within 15 s."""
DRAIN_SECONDS: Final = 8.0
"""How long the end of an attempt is tried to be written while the database is away and the worker shuts down."""
SHUTTING_DOWN: Final = "the worker is shutting down"
PERMANENT: Final = range(64, 80)
"""Exit codes of a child (sysexits.h) after which another attempt would end the same way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The job cannot end well."""

    error: JobError


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """The attempt was given up without a loss: by a wish, because the worker shuts down, or for want of a GPU."""

    reason: str | None = None
    """Where it is none of the wishes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """The attempt ended without a word; another one may do better."""

    reason: str


Outcome = Publication | Failed | Stopped | Lost
T = TypeVar("T")


def answer(open_shop: Callable[[], Workshop], queue: str) -> None:
    """The best queued job of the queue was worked on until its attempt ended, if there was one to claim."""
    guarded(lambda: _answer(open_shop(), queue), f"the doorbell of {queue} was not answered; the sweep rings again")


def _answer(shop: Workshop, queue: str) -> None:
    if shop.settings.draining():
        return
    with shop.database.write() as tx:
        job = jobs.claim(tx, queue, owner=shop.settings.owner, now=now_of(tx))
        request = None if job is None else events.request_of(tx, job.id)
    if job is not None:
        asked = {} if request is None else {"request": request}
        with (
            at_work_on(job=job.id, attempt=job.attempt, kind=job.kind.value, **asked),
            AttemptSpans(shop.tracer, job) as spans,
            Pulse(shop.database, job) as pulse,
        ):
            log.info("job %s: claimed, attempt %d", job.id, job.attempt)
            Attempt(shop, job, pulse=pulse, spans=spans).run()


def guarded(act: Callable[[], T], broken_off: str) -> T | BaseException:
    """What `act` returned, or the exception that ended it, logged as `broken_off`.

    The process loop of the worker. A MemoryError that left the task would end Celery's main process, and SystemExit
    is how a cold shutdown arrives in the middle of a job.
    """
    try:
        return act()
    except BaseException as error:
        log.exception(broken_off)
        return error


class Attempt:
    """A claimed job and everything that is done with it."""

    def __init__(self, shop: Workshop, job: JobRecord, *, pulse: Pulse, spans: AttemptSpans) -> None:
        self._shop = shop
        self._job = job
        self._pulse = pulse
        self._spans = spans

    def run(self) -> None:
        """The job has ended, is queued again, or belongs to somebody else; no exception comes out."""
        name = f"job {self._job.id}: attempt {self._job.attempt}"
        outcome = guarded(self._perform, f"{name} was broken off")
        if isinstance(outcome, BaseException):
            outcome = _meaning(outcome)
        self._spans.ended(type(outcome).__name__)
        guarded(partial(self._conclude, outcome), f"{name} could not be concluded; its lease will run out")

    def _perform(self) -> Outcome:
        """Prepare, work, publish; nothing is committed yet."""
        order = write_order(self._shop, self._job, stop=self._stop_wanted)
        if self._stop_wanted():
            return Stopped()
        settings = self._shop.settings
        environment = child_environment(settings.environment, settings.threads)
        command = [*self._shop.command, str(order.path)]
        child = ChildProcess.start(command, environment, log_path=order.log_path)
        try:
            last, code = self._listen(child, finish_path=order.finish_path)
            if last is not None and last[0] is MessageType.DONE and code == 0:
                self._say_if_promoting()
                return publish(self._shop, self._job, order=order, result=last[1]["result"])
            return self._explain(last, code, child=child)
        finally:
            child.close()

    def _listen(self, child: ChildProcess, *, finish_path: Path) -> tuple[Message | None, int | None]:
        """The child's last word and exit code, after everything that it said was passed on and every wish obeyed."""
        last: Message | None = None
        asked_at: float | None = None
        while (code := child.ended()) is None and not self._pulse.fenced:
            for message in child.listen(LISTEN_SECONDS):
                last = self._hear(message) or last
            self._pulse.check()
            if self._pulse.keep_requested:
                ask_to_finish(finish_path)
            if child.silent_seconds > self._shop.settings.stall_seconds:
                child.kill()
            if asked_at is None and self._stop_wanted():
                child.ask_to_stop()
                asked_at = time.monotonic()
            patience = STOP_SECONDS if self._pulse.cancel_requested or self._pulse.fenced else SAVE_SECONDS
            if asked_at is not None and time.monotonic() - asked_at > patience:
                child.kill()
        for message in child.last_words():
            last = self._hear(message) or last
        if asked_at is not None and last is None:
            last = (MessageType.STOPPED, {})  # it was killed for being slow to stop, or died of the wish
        return last, code

    def _hear(self, message: Message) -> Message | None:
        """The message if it is the child's last word; any other is passed on."""
        if message[0].final:
            return message
        if message[0] is MessageType.PHASE:
            self._spans.phase(str(message[1]["phase"]))
        if message[0] is not MessageType.AT_WORK:
            self._pulse.tell(*message)
        return None

    def _say_if_promoting(self) -> None:
        """A new index is about to answer; one that is built as a version beside the others is not."""
        if self._job.kind is JobKind.INDEX and "version" not in self._job.spec:
            self._pulse.tell(MessageType.PHASE, {"phase": Phase.PROMOTING})

    def _stop_wanted(self) -> bool:
        wished = self._pulse.cancel_requested or self._pulse.pause_requested
        return wished or self._pulse.fenced or self._shop.settings.draining()

    def _explain(self, last: Message | None, code: int | None, *, child: ChildProcess) -> Outcome:
        """What the end of a child that brought no result means for the job."""
        if last is not None and last[0] is MessageType.FAILED:
            return Failed(error=JobError(**last[1]["error"]))
        if last is not None and last[0] is MessageType.STOPPED:
            return Stopped(reason=last[1].get("reason"))
        said = without_paths(child.tail).strip()
        if code in PERMANENT:
            return Failed(error=JobError(code="crashed", message=f"the work ended with exit code {code}: {said}"))
        if code == -9 and child.silent_seconds > self._shop.settings.stall_seconds:
            silent = f"the work said nothing for {child.silent_seconds:.0f} s and was killed"
            return Lost(reason=f"stalled: {silent}: {said}")
        if code == -9:
            return Lost(
                reason="killed_maybe_oom: the work was killed, probably for lack of memory; use smaller batches"
            )
        if code is not None and code < 0:
            return Lost(reason=f"crashed: the work was ended by signal {-code}: {said}")
        return Lost(reason=f"crashed: the work ended with exit code {code}: {said}")

    def _conclude(self, outcome: Outcome) -> None:
        """The outcome is committed, or another attempt owns the job and the outcome's files are gone."""
        self._pulse.stop()
        clean(self._shop, self._job)
        committed = not self._pulse.fenced and self._insist(self._ending(outcome))
        job = self._job
        if committed:
            log.info("job %s: attempt %d ended: %s", job.id, job.attempt, type(outcome).__name__)
            diverged = isinstance(outcome, Failed) and outcome.error.code == NAN_LOSS  # the last good state stays
            if self._now().status in (JobStatus.SUCCEEDED, JobStatus.FAILED) and not diverged:  # a cancelled one too
                forget(self._shop, job)
            if isinstance(outcome, Publication):
                guarded(
                    outcome.afterwards, f"job {job.id}: not all of its leftovers are gone; the next job removes them"
                )
        elif not self._is_own_success():
            log.warning("job %s: attempt %d is fenced and wrote nothing", job.id, job.attempt)
            if isinstance(outcome, Publication) and outcome.path is not None:
                self._shop.artifacts.discard(outcome.path)

    def _ending(self, outcome: Outcome) -> Callable[[Tx, float], bool]:
        """The write that ends the attempt; the heartbeat of the same transaction has proved it to be ours."""
        id, attempt = self._job.id, self._job.attempt
        if isinstance(outcome, Publication):
            return outcome.commit
        if isinstance(outcome, Failed):
            return lambda tx, now: jobs.fail(tx, id, attempt=attempt, now=now, error=outcome.error)
        lost = isinstance(outcome, Lost)
        reason = outcome.reason or self._why_stopped()
        return lambda tx, now: jobs.release(tx, id, attempt=attempt, now=now, lost=lost, reason=reason) is not None

    def _why_stopped(self) -> str:
        if self._shop.settings.draining():
            return SHUTTING_DOWN
        return "the job was asked to pause" if self._pulse.pause_requested else "the wish to stop was withdrawn"

    def _insist(self, ending: Callable[[Tx, float], bool]) -> bool:
        """The ending is committed, however long the database is away; False if the attempt is fenced.

        Raises:
            DatabaseUnavailable: the worker shuts down meanwhile; the lease will run out and the job be repeated.
        """
        begun = time.monotonic()
        while True:
            try:
                return self._pulse.commit(ending)
            except (DatabaseUnavailable, StorageFull) as error:
                log.warning("job %s: its end cannot be written yet: %s", self._job.id, error)
                if self._shop.settings.draining() and time.monotonic() - begun > DRAIN_SECONDS:
                    raise
                time.sleep(random.uniform(*OUTAGE_SECONDS))

    def _is_own_success(self) -> bool:
        """Whether an earlier try was committed after all and only its answer was lost."""
        job = self._now()
        return job.status is JobStatus.SUCCEEDED and job.attempt == self._job.attempt

    def _now(self) -> JobRecord:
        with self._shop.database.read() as tx:
            return jobs.get(tx, self._job.project, id=self._job.id)


def _meaning(error: BaseException) -> Outcome:
    """What an exception on the parent's side means for the job."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return Stopped(reason=SHUTTING_DOWN)
    if isinstance(error, errors.Stopped):
        return Stopped()
    reason = describe(error)
    return Failed(error=reason) if reason else Lost(reason=without_paths(f"worker: {type(error).__name__}: {error}"))
