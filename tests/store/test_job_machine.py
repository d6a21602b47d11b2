"""Submit, cancel, pause, resume, claim, heartbeat, end, release and reap in any order, against the state machine as a
dictionary."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from service.store import events, jobs, sweep, wishes
from service.store.database import Database
from service.store.errors import Conflict
from service.store.records import JobError, JobRecord, JobStatus, Page

QUEUED, RUNNING, PAUSED, SUCCEEDED, FAILED, CANCELLED = JobStatus
ENDED = (SUCCEEDED, FAILED, CANCELLED)
EVENTS_OF = {
    QUEUED: ("submitted", "released", "unpaused"),
    PAUSED: ("paused",),
    SUCCEEDED: ("finished",),
    FAILED: ("failed",),
    CANCELLED: ("cancelled",),
}
ATTEMPT_SHIFT = st.sampled_from([0, 0, 0, -1, 1])


class Jobs(RuleBasedStateMachine):
    template: Path
    make_job: Callable[..., JobRecord]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine"))
        shutil.copy(self.template, self.folder / "store.db")
        self.database = Database.open(f"sqlite:///{self.folder / 'store.db'}")
        self.now = 1000.0
        self.model: dict[str, dict[str, Any]] = {}

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @rule(seconds=st.sampled_from([0.5, 5.0, 59.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: len(self.model) < 4)
    @rule(max_losses=st.integers(1, 3))
    def submit(self, max_losses: int) -> None:
        job = type(self).make_job(max_losses=max_losses)
        with self.database.write() as tx:
            jobs.insert(tx, job)
        self.model[job.id] = {"status": QUEUED, "attempt": 0, "losses": 0, "after": 0.0, "flag": False}
        self.model[job.id] |= {"max": max_losses, "lease": None, "ends": 0, "pause": False, "saved": 0, "lost_at": 0}

    @rule()
    def claim(self) -> None:
        with self.database.write() as tx:
            job = jobs.claim(tx, "train", owner="o", now=self.now)
        ready = [id for id, m in self.model.items() if m["status"] is QUEUED and m["after"] <= self.now]
        assert (job and job.id) == (ready[0] if ready else None)  # equal priorities: the oldest
        if job is not None:
            mine = self.model[job.id]
            mine |= {"status": RUNNING, "attempt": mine["attempt"] + 1, "lease": self.now + 60}

    @precondition(lambda self: self.model)
    @rule(data=st.data(), shift=ATTEMPT_SHIFT, saved=st.none() | st.integers(1, 6))
    def heartbeat(self, data: st.DataObject, shift: int, saved: int | None) -> None:
        id, attempt, owns = self._somebody(data, shift)
        update = {"progress": {"at": self.now}} | ({} if saved is None else {"saved_step": saved})
        with self.database.write() as tx:
            beat = jobs.heartbeat(tx, id, attempt=attempt, now=self.now, update=update)
        mine = self.model[id]
        expected = jobs.Heartbeat(cancel_requested=mine["flag"], pause_requested=mine["pause"])
        assert beat == (expected if owns else None)
        if owns:
            mine |= {"lease": self.now + 60, "saved": max(mine["saved"], saved or 0)}

    @precondition(lambda self: self.model)
    @rule(data=st.data(), shift=ATTEMPT_SHIFT, end=st.sampled_from([SUCCEEDED, FAILED, CANCELLED]))
    def end(self, data: st.DataObject, shift: int, end: JobStatus) -> None:
        id, attempt, owns = self._somebody(data, shift)
        who: dict[str, Any] = {"attempt": attempt, "now": self.now}
        with self.database.write() as tx:
            if end is SUCCEEDED:
                done = jobs.succeed(tx, id, **who, result={})
            elif end is FAILED:
                done = jobs.fail(tx, id, **who, error=JobError(code="c", message="m"))
            else:
                done = jobs.cancelled(tx, id, **who)
        assert done is owns
        if owns:
            self._ended(id, end)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), shift=ATTEMPT_SHIFT, lost=st.booleans())
    def release(self, data: st.DataObject, shift: int, lost: bool) -> None:
        id, attempt, owns = self._somebody(data, shift)
        with self.database.write() as tx:
            status = jobs.release(tx, id, attempt=attempt, now=self.now, lost=lost, reason="r")
        assert status is (self._released(id, lost) if owns else None)

    @rule()
    def reap(self) -> None:
        with self.database.write() as tx:
            reaped = sweep.reap(tx, self.now)
        silent = {id for id, m in self.model.items() if m["status"] is RUNNING and m["lease"] < self.now}
        assert set(reaped) == silent
        for id in silent:
            self._released(id, True)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id, _, _ = self._somebody(data, 0)
        mine = self.model[id]
        try:
            with self.database.write() as tx:
                status = wishes.request_cancel(tx, "default", id=id, now=self.now).status
        except Conflict:
            assert mine["status"] in (SUCCEEDED, FAILED)
            return
        if mine["status"] in (QUEUED, PAUSED):
            self._ended(id, CANCELLED)
        mine["flag"] = True
        assert status is mine["status"]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), wish=st.sampled_from([wishes.request_pause, wishes.request_resume]))
    def pause_or_resume(self, data: st.DataObject, wish: Callable[..., JobRecord]) -> None:
        id, _, _ = self._somebody(data, 0)
        mine, pauses = self.model[id], wish is wishes.request_pause
        try:
            with self.database.write() as tx:
                status = wish(tx, "default", id=id, now=self.now).status
        except Conflict as error:
            assert (error.code, mine["status"] in ENDED) == ("job_terminal", True)
            return
        if mine["status"] is RUNNING:
            mine["pause"] = pauses and (mine["pause"] or not mine["flag"])
        elif not pauses and mine["status"] is PAUSED:
            mine |= {"status": QUEUED, "after": self.now}
        elif pauses:
            mine["status"] = PAUSED
        assert status is mine["status"]

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        with self.database.read() as tx:
            for id, mine in self.model.items():
                job = jobs.get(tx, "default", id=id)
                found = (job.status, job.attempt, job.losses, job.lease_until, job.pause_requested)
                assert found == tuple(mine[name] for name in ("status", "attempt", "losses", "lease", "pause"))
                assert (job.finished_at is not None) is (job.status in ENDED)
                told = [event.type for event in events.page(tx, id, page=Page(limit=1000, descending=False))[0]]
                assert told.count("claimed") == job.attempt
                assert sum(type in ("finished", "failed", "cancelled") for type in told) == mine["ends"] <= 1
                assert job.status is RUNNING or told[-1] in EVENTS_OF[job.status]

    def _somebody(self, data: st.DataObject, shift: int) -> tuple[str, int, bool]:
        """A job, an attempt number near its own, and whether that attempt owns it."""
        id = data.draw(st.sampled_from(list(self.model)))
        mine = self.model[id]
        return id, mine["attempt"] + shift, shift == 0 and mine["status"] is RUNNING

    def _released(self, id: str, lost: bool) -> JobStatus:
        mine = self.model[id]
        if mine["flag"]:
            return self._ended(id, CANCELLED)
        if lost:
            mine["losses"] = 1 if mine["saved"] > mine["lost_at"] else mine["losses"] + 1
            mine["lost_at"] = mine["saved"]
        if lost and mine["losses"] >= mine["max"]:
            return self._ended(id, FAILED)
        delay = [0.0, 2.0, 10.0, 30.0][mine["losses"]] if lost else 0.0
        status = PAUSED if mine["pause"] else QUEUED
        mine |= {"status": status, "lease": None, "after": self.now + delay, "pause": False}
        return status

    def _ended(self, id: str, status: JobStatus) -> JobStatus:
        self.model[id] |= {"status": status, "lease": None, "pause": False, "ends": self.model[id]["ends"] + 1}
        return status


def test_the_rows_follow_the_state_machine(sqlite_template: Path, make_job: Callable[..., JobRecord]) -> None:
    Jobs.template, Jobs.make_job = sqlite_template, make_job
    slow_disk = [HealthCheck.too_slow, HealthCheck.data_too_large]
    budget = settings(
        max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=slow_disk
    )
    run_state_machine_as_test(Jobs, settings=budget)
