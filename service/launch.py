"""Starts a program that cannot outlive the process that ordered it: `python -m service.launch PARENT_PID PROGRAM …`.

On Linux the kernel does it (PDEATHSIG, kept over exec); elsewhere this process stays as a monitor. The parent must
launch from its main thread: the kernel counts the end of the spawning *thread* as death.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

PARENT_GONE = 75
"""Exit code when the parent was gone before the program could start (EX_TEMPFAIL of sysexits.h)."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_SECONDS = 0.2


def command(program: Sequence[str]) -> list[str]:
    """The command line under which `program` dies with the calling process, whatever kills that."""
    return [sys.executable, "-m", "service.launch", str(os.getpid()), *program]


def bind_to_parent() -> bool:
    """Whether the kernel will kill this process when its parent dies; False where it has no such call."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def run(program: Sequence[str], parent: int, *, bind: Callable[[], bool] = bind_to_parent) -> NoReturn:
    """Become `program`, or watch over it where the kernel cannot bind it to `parent`; never returns."""
    bound = bind()
    if os.getppid() != parent:  # it died before the binding was made
        os._exit(PARENT_GONE)
    if bound:
        os.execvp(program[0], list(program))
    _monitor(program, parent)


def _monitor(program: Sequence[str], parent: int) -> NoReturn:
    """Run `program`, pass SIGTERM and SIGINT on, kill it when `parent` is gone, end as it ends."""
    child = subprocess.Popen(program)

    def forward(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
            child.wait()
            os._exit(PARENT_GONE)
        time.sleep(_POLL_SECONDS)
    code = child.returncode
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    run(sys.argv[2:], int(sys.argv[1]))
