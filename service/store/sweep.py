"""Puts back what was dropped: jobs whose owner fell silent run again, jobs that nobody was told of are rung.

Every gateway and every worker runs the loop; the statements are conditional, so any number of them may.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from service.store import jobs as job_rows
from service.store.database import Database, Tx
from service.store.errors import StoreError
from service.store.jobs import BACKOFF_SECONDS, LEASE_SECONDS
from service.store.queue import QUEUES, kinds_of
from service.store.records import JobStatus
from service.store.tables import jobs

SWEEP_SECONDS: Final = 5.0
RING_AGAIN_SECONDS: Final = 30.0
RINGS_PER_QUEUE: Final = 100
"""Of one sweep: a thousand waiting jobs need no thousand messages, and the next sweep is near."""

_NAP_SECONDS = 0.5  # how late the end of the loop may be noticed

log = logging.getLogger(__name__)


def reap(tx: Tx, now: float) -> list[str]:
    """The ids of the running jobs whose lease has expired; each waits again, failed or was cancelled, with an event."""
    silent = sa.and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_until < now)
    rows = tx.execute(sa.select(jobs.c.id, jobs.c.attempt).where(silent).with_for_update(skip_locked=True)).all()
    for id, attempt in rows:
        job_rows.release(tx, id, attempt=attempt, now=now, lost=True, reason="the worker fell silent")
    return [id for id, _ in rows]


def due(tx: Tx, now: float) -> list[tuple[str, str]]:
    """The (job id, queue) pairs to ring after this transaction's commit: those never rung, or not for 30 s.

    At most 100 of each queue, the best first.
    """
    return [(id, queue) for queue in QUEUES for id in _mark_due(tx, queue, now=now)]


def _mark_due(tx: Tx, queue: str, *, now: float) -> list[str]:
    unheard = sa.or_(jobs.c.doorbell_at.is_(None), jobs.c.doorbell_at < now - RING_AGAIN_SECONDS)
    waiting = sa.and_(jobs.c.status == JobStatus.QUEUED, jobs.c.kind.in_(kinds_of(queue)), jobs.c.run_after <= now)
    query = sa.select(jobs.c.id).where(waiting, unheard).order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
    ids = list(tx.execute(query.limit(RINGS_PER_QUEUE).with_for_update(skip_locked=True)).scalars())
    if ids:
        tx.execute(sa.update(jobs).where(jobs.c.id.in_(ids)).values(doorbell_at=now))
    return ids


def unring(tx: Tx, ids: list[str]) -> None:
    """These jobs are due again at the next sweep: their bell did not ring."""
    still = sa.and_(jobs.c.id.in_(ids), jobs.c.status == JobStatus.QUEUED)
    tx.execute(sa.update(jobs).where(still).values(doorbell_at=None))


def unring_queues(tx: Tx, queues: Sequence[str]) -> None:
    """Every job that waits in one of these queues is due at the next sweep: its message may be gone."""
    kinds = [kind for queue in queues for kind in kinds_of(queue)]
    waiting = sa.and_(jobs.c.status == JobStatus.QUEUED, jobs.c.kind.in_(kinds))
    tx.execute(sa.update(jobs).where(waiting).values(doorbell_at=None))


class Sweep:
    """The loop. `ring(job_id, queue)` may raise a StoreError; then the bell is rung at the next sweep."""

    def __init__(
        self, database: Database, ring: Callable[[str, str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._ring = ring
        self._clock = clock
        self._poked = threading.Event()
        self._last = -float("inf")
        self._reap_from = float("inf")

    def poke(self) -> None:
        """The loop sweeps at once; returns immediately, so it may be called inside a request."""
        self._poked.set()

    def run(self, stop: threading.Event) -> None:
        """Sweeps every 5 s, when poked and when a job that it put back may run; until `stop` is set, whatever fails."""
        while not stop.is_set():
            self._poked.clear()  # before the sweep: a poke during it means rows that it may not have seen
            pause = SWEEP_SECONDS
            try:
                pause = self.once()
            except Exception:  # the process loop's one broad except: without its sweep, a process rings no bell ever
                log.exception("the sweep failed and goes on")
                self._warm_up(self._clock())
            self._wait(stop, pause)

    def once(self) -> float:
        """One sweep at the clock's time, the loop's body; returns in how many seconds the next one is wanted."""
        now, pause = self._clock(), SWEEP_SECONDS
        if not 0 <= now - self._last <= LEASE_SECONDS:  # just started, stopped for a while, or the clock was set
            self._warm_up(now)
        self._last = now
        try:
            with self._database.write() as tx:
                if now >= self._reap_from and (reaped := reap(tx, now)):
                    log.warning("put back %d jobs whose worker fell silent: %s", len(reaped), ", ".join(reaped))
                    pause = BACKOFF_SECONDS[0]  # they have waited for a lease already
                bells = due(tx, now)
            self._ring_all(bells)
        except StoreError as error:
            log.warning("the sweep waits for the store: %s", error)
            self._warm_up(now)
        return pause

    def _warm_up(self, now: float) -> None:
        """Nothing is reaped for one lease: after an outage every owner gets the chance to renew its own."""
        self._reap_from = now + LEASE_SECONDS

    def _ring_all(self, bells: list[tuple[str, str]]) -> None:
        """Stops at the first bell that fails: a broker that is away takes seconds to say so."""
        for place, (id, queue) in enumerate(bells):
            try:
                self._ring(id, queue)
            except StoreError as error:
                log.warning("%d bells did not ring, the next sweep tries again: %s", len(bells) - place, error)
                with self._database.write() as tx:
                    unring(tx, [id for id, _ in bells[place:]])
                return

    def _wait(self, stop: threading.Event, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < end and not self._poked.wait(_NAP_SECONDS):
            pass
