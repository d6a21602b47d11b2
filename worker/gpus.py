"""A training has its GPUs to itself: a lock file each, held until the process ends, however it ends.

The kernel lets a lock go with its process, so an attempt never meets in memory the one that is dying before it.
"""

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from infonce.errors import Stopped

PATIENCE_SECONDS: Final = 60.0
"""A process that was killed is gone long before; whatever holds a GPU for longer is at work on it."""

_POLL_SECONDS = 0.1


class GpuBusy(Stopped):
    """Another process holds a GPU; the message is the reason for which the attempt is given back."""


def hold_gpus(
    folder: Path, names: Sequence[str], *, stop: Callable[[], bool], patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """The GPUs of these names are this process's until it ends.

    Raises:
        GpuBusy: one of them was another's for all that time.
        Stopped: `stop()` was true meanwhile.
    """
    deadline = time.monotonic() + patience_seconds
    for name in sorted(names):  # in one order, or two processes could each wait for the other's
        lock = os.open(folder / f"gpu-{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)  # open for as long as we live
        while not _taken(lock):
            if stop():
                raise Stopped("stopped while another process held the GPU")
            if time.monotonic() > deadline:
                os.close(lock)
                waited = f"another process has held it for {patience_seconds:.0f} s"
                raise GpuBusy(f"gpu_busy: {waited} (GPU {name}); the job waits for a worker again")
            time.sleep(_POLL_SECONDS)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
