"""What a chaos run does to its stack: a deck of faults, shuffled by the seed and dealt until it has been through.

A fault that finds nothing to hit (no child at work, say) goes back into the deck.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from service.store import wishes
from service.store.errors import Conflict, DatabaseUnavailable
from service.store.queue import Doorbell
from service.store.records import DEFAULT_PROJECT, JobStatus, new_id
from tests.faults import chain_child, real_child
from tests.faults.chaos_times import LEASE_SECONDS
from tests.faults.stack import QUEUE, Stack, send

PAUSE_SECONDS = (0.8, 2.2)
"""Between two faults."""
CHECKPOINTS = {
    chain_child.__name__: "checkpoints/step-*.json",
    real_child.__name__: "checkpoints/step-*/state.safetensors",
}
"""Where a child of that kind saves, below its run."""


@dataclass
class Nemesis:
    """Deals faults; what has to be undone later (a process goes on, a network heals) is done by `tend`."""

    stack: Stack
    draw: random.Random
    doomed: list[str]
    """The jobs that may be cancelled."""
    slowness: float = 1.0
    """By how much the pauses between faults are longer."""
    happened: Counter[str] = field(default_factory=Counter)
    _deck: list[str] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _thawing: list[threading.Timer] = field(default_factory=list)
    _next: float = 0.0

    def tend(self, *, strikes: bool) -> None:
        """What was due has been done: a promise of an earlier fault, or the next fault if it still `strikes`."""
        now = time.monotonic()
        for promise in [promise for promise in self._later if promise[0] <= now]:
            self._later.remove(promise)
            promise[1]()
        if strikes and now >= self._next:
            self._strike()

    def rest(self) -> None:
        """Nothing is broken any more by an earlier fault."""
        for _, undo in self._later:
            undo()
        self._later.clear()
        for thread in self._thawing:
            thread.join()

    def _strike(self) -> None:
        if not self._deck:
            self._deck = list(FAULTS)
            self.draw.shuffle(self._deck)
        name = self._deck.pop(0)
        if FAULTS[name](self):
            self.happened[name] += 1
            self._next = time.monotonic() + self.slowness * self.draw.uniform(*PAUSE_SECONDS)
        else:
            self._deck.insert(min(2, len(self._deck)), name)
            self._next = time.monotonic() + 0.1

    def _after(self, seconds: float, undo: Callable[[], object]) -> bool:
        self._later.append((time.monotonic() + seconds, undo))
        return True

    def kill_worker(self) -> bool:
        return self._signal(self.stack.workers(), signal.SIGKILL)

    def quit_worker(self) -> bool:
        return self._signal(self.stack.workers(), signal.SIGQUIT)

    def drain_worker(self) -> bool:
        return self._signal(self.stack.workers(), signal.SIGTERM)

    def kill_pool(self) -> bool:
        return self._signal([pool for _, pool in self.stack.trainings()], signal.SIGKILL)

    def kill_child(self) -> bool:
        return self._signal([child for child, _ in self.stack.trainings()], signal.SIGKILL)

    def crash_child(self) -> bool:
        return self._signal([child for child, _ in self.stack.trainings()], signal.SIGSEGV)

    def freeze_pool(self) -> bool:
        """The process that holds the lease stands still for longer than that, its child does not."""
        return self._freeze([pool for _, pool in self.stack.trainings()], LEASE_SECONDS * self.draw.uniform(1.2, 1.8))

    def freeze_child(self) -> bool:
        return self._freeze([child for child, _ in self.stack.trainings()], self.draw.uniform(0.5, 2.0))

    def wipe_broker(self) -> bool:
        with redis.Redis(port=self.stack.broker_port) as broker:
            return bool(broker.flushall())

    def cut_network(self) -> bool:
        self.stack.proxy.cut()
        return self._after(self.draw.uniform(1.0, 4.0), self.stack.proxy.heal)

    def reset_network(self) -> bool:
        return self.stack.proxy.reset() > 0

    def ring_too_often(self) -> bool:
        """For jobs that wait, run, have ended and never were."""
        ids = [*(job.id for job in self.stack.jobs()), new_id("ftjob")]
        doorbell = Doorbell(self.stack.direct_url)
        for id in self.draw.choices(ids, k=20):
            doorbell.ring(id, QUEUE)
        doorbell.close()
        return True

    def damage_checkpoint(self) -> bool:
        """The newest one of an attempt at work loses its second half before the attempt dies."""
        for child, _ in self._shuffled(self.stack.trainings()):
            if not send(child, signal.SIGSTOP):
                continue
            saved = [
                path
                for job in self.stack.jobs()
                if job.status is JobStatus.RUNNING and job.saved_step
                for path in self.stack.artifacts.run_path(job.id, job.attempt).glob(CHECKPOINTS[self.stack.child])
            ]
            newest = max(saved, key=lambda path: path.stat().st_mtime, default=None)
            if newest is None:
                send(child, signal.SIGCONT)
                continue
            os.truncate(newest, newest.stat().st_size // 2)
            for other, _ in self.stack.trainings():  # whichever of them has written it
                send(other, signal.SIGKILL)
            return True
        return False

    def pause_job(self) -> bool:
        """And resume it a little later."""
        running = [job.id for job in self.stack.jobs() if job.status is JobStatus.RUNNING]
        if not running:
            return False
        id = self.draw.choice(running)
        return self._wish(wishes.request_pause, id) and self._after(
            self.draw.uniform(0.2, 2.5), lambda: self._wish(wishes.request_resume, id)
        )

    def cancel_job(self) -> bool:
        order = [JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.QUEUED]
        able = [job for job in self.stack.jobs() if job.id in self.doomed and not job.cancel_requested]
        able = sorted((job for job in able if job.status in order), key=lambda job: order.index(job.status))
        return bool(able) and self._wish(wishes.request_cancel, able[0].id)

    def _wish(self, wish: Callable[..., object], id: str) -> bool:
        """Whether the job had not ended yet, and the database was not locked by a process that is frozen."""
        try:
            with self.stack.database.write() as tx:
                wish(tx, DEFAULT_PROJECT, id=id, now=time.time())
        except (Conflict, DatabaseUnavailable):
            return False
        return True

    def _signal(self, pids: Sequence[int], number: int) -> bool:
        return bool(pids) and send(self.draw.choice(pids), number)

    def _freeze(self, pids: Sequence[int], seconds: float) -> bool:
        if not pids:
            return False
        pid = self.draw.choice(pids)
        handle = os.pidfd_open(pid)  # not the number, which another process may have by then

        def thaw() -> None:
            try:
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            except ProcessLookupError:
                pass
            finally:
                os.close(handle)

        if not send(pid, signal.SIGSTOP):
            os.close(handle)
            return False
        thread = threading.Timer(seconds, thaw)  # a thread: the frozen one may hold the lock that this one waits for
        thread.start()
        self._thawing.append(thread)
        return True

    def _shuffled(self, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return self.draw.sample(found, k=len(found))


FAULTS: dict[str, Callable[[Nemesis], bool]] = {
    "worker killed": Nemesis.kill_worker,
    "worker quit": Nemesis.quit_worker,
    "worker drained": Nemesis.drain_worker,
    "pool process killed": Nemesis.kill_pool,
    "child killed": Nemesis.kill_child,
    "child crashed": Nemesis.crash_child,
    "pool process frozen beyond its lease": Nemesis.freeze_pool,
    "child frozen": Nemesis.freeze_child,
    "broker wiped": Nemesis.wipe_broker,
    "network cut": Nemesis.cut_network,
    "connections reset": Nemesis.reset_network,
    "doorbell rung too often": Nemesis.ring_too_often,
    "newest checkpoint damaged": Nemesis.damage_checkpoint,
    "job paused and resumed": Nemesis.pause_job,
    "job cancelled": Nemesis.cancel_job,
}
