"""How a process that was started for another one ends with it, whatever ends that: by the kernel, and by a pipe.

The other one starts it from a thread that outlives it (the kernel counts the end of the starting thread as death) and
holds its stdin open; where the kernel has no such call the pipe alone does it.
"""

import ctypes
import os
import signal
import sys
import threading
from typing import Final

EXIT_ORPHANED: Final = 75
"""The exit code of a process whose parent is gone."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int) -> None:
    """The kernel kills this process when its parent ends; it ends at once if that has happened already."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_ORPHANED)


def end_with_stdin() -> None:
    """A thread ends this process when the parent's end of stdin closes: the only sign where there is no PDEATHSIG."""
    threading.Thread(target=_wait_for_end_of_stdin, name="stdin", daemon=True).start()


def _wait_for_end_of_stdin() -> None:
    """`os.read`, never `sys.stdin.buffer.read`: CPython aborts at exit while a daemon thread holds that lock."""
    while os.read(0, 4096):
        pass
    os._exit(EXIT_ORPHANED)
