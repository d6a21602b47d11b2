"""Kills an operation, or fills the disk, at its n-th call that changes what is durable, for n = 1, 2, … (SQLite's way).

The calls are wrapped in a process of the test's own, so that production has no failpoints. Each run is a fork of a
server that has imported everything and has no threads; a cut needs none: from that call on nothing becomes durable.
"""

import errno
import multiprocessing
import os
import shutil
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

KILLED, PASSED, INJECTED, WRONG = 137, 0, 3, 1
MAX_POINTS = 200
_CALLS = ("fsync", "rename", "mkdir", "unlink")
_NEEDS_ROOM = ("fsync", "rename", "mkdir", "commit")  # what a full disk can refuse
_SECONDS = 60.0


class Fault(Enum):
    """What happens at the n-th call."""

    DEATH = "death"
    FULL = "full"
    CUT = "cut"
    """That call and all later ones raise: whoever is thrown away then has left on disk what a dead process would."""


class Cut(Exception):
    """What was begun ends here."""


@dataclass
class Counter:
    """How many calls there were, and what happens at which one."""

    fault: Fault
    fail_at: int
    num: int = 0

    def hit(self, name: str) -> None:
        if threading.current_thread().name == "sweep" or (self.fault is Fault.FULL and name not in _NEEDS_ROOM):
            return
        self.num += 1
        if self.fault is Fault.CUT and self.injected:
            raise Cut(f"at call {self.num}, {name}")
        if self.num != self.fail_at:
            return
        if self.fault is Fault.DEATH:
            os._exit(KILLED)
        if name == "commit":
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def injected(self) -> bool:
        return 0 < self.fail_at <= self.num


@contextmanager
def armed(counter: Counter) -> Iterator[None]:
    """Inside, the calls are counted and the n-th one fails; the commit of a write counts before and after."""
    real = {name: getattr(os, name) for name in _CALLS}
    commit = DefaultDialect.do_commit

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            counter.hit(name)
            return real[name](*given, **more)

        return call

    def do_commit(dialect: DefaultDialect, connection: Any) -> None:
        [reading] = connection.cursor().execute("PRAGMA query_only").fetchone()
        if not reading:
            counter.hit("commit")
        commit(dialect, connection)
        if not reading:
            counter.hit("committed")

    for name in _CALLS:
        setattr(os, name, wrapped(name))
    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name in _CALLS:
            setattr(os, name, real[name])
        DefaultDialect.do_commit = commit  # type: ignore[method-assign]


Operation = Callable[[Path, Counter], None]
"""Works on the home at the path, armed with the counter only while it does; raises if its answer is wrong."""


def _run(operation: Operation, home: Path, counter: Counter) -> None:
    """The process of one run."""
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # rmtree by paths, so that its calls are ours
    try:
        operation(home, counter)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(WRONG)
    os._exit(INJECTED if counter.injected else PASSED)


def server() -> ForkServerContext:
    """What starts the runs; the modules are imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.operations"])
    return context


def attempt(context: ForkServerContext, operation: Operation, home: Path, counter: Counter) -> int:
    """How the run ended: KILLED, INJECTED or PASSED."""
    process = context.Process(target=_run, args=(operation, home, counter))
    process.start()
    process.join(_SECONDS)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode in (KILLED, INJECTED, PASSED), f"at call {counter.fail_at}: {process.exitcode}"
    return process.exitcode


def every_point(
    context: ForkServerContext, operation: Operation, *, fault: Fault, home: Callable[[int], Path]
) -> Iterator[Path]:
    """For n = 1, 2, …: a new home after the operation failed at its n-th call; ends when it passes untouched."""
    for number in range(1, MAX_POINTS):
        path = home(number)
        ended = attempt(context, operation, path, Counter(fault, number))
        if ended == PASSED:
            print(f"{operation.__name__}: {fault.value} at each of {number - 1} calls")
            assert number > 1, "hardly anything was counted"
            return
        yield path
    raise AssertionError(f"{operation.__name__} did not pass within {MAX_POINTS} calls")
