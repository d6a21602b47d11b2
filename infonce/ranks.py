"""Several processes of this machine train one model: this one is rank 0, the others are started beside it.

Rank 0 keeps what a caller sees: progress, checkpoints, evaluation, the model. The others (`infonce/rank.py`) go through
the same `train` in silence. They end with rank 0, and rank 0 with one sentence when one of them is lost.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
import torch.distributed as dist

from infonce.config import AUTO, Auto, EncoderConfig
from infonce.device import resolve_device
from infonce.distributed import Processes, break_group, join_group, leave_group
from infonce.errors import ConfigError, RankFailed, Stopped
from infonce.meeting import Meeting, RankOrder
from infonce.pairs import Pair

COMMAND: Final = (sys.executable, "-P", "-m", "infonce.rank")
"""What runs a rank, importing nothing from where it starts; the folder of `Meeting`, its number, how many there are and
rank 0's pid are added."""

_READY_SECONDS = 600.0  # a model of gigabytes is loaded by several at once from a slow disk
_POLL_SECONDS = 0.02
_WATCH_SECONDS = 0.2
_LAST_WORDS_SECONDS = 3.0  # a lost peer's socket closes before its exit code can be read
_MAX_SAID = 500


def num_processes(wanted: int | Auto) -> int:
    """How many processes to train in; `auto` is one for each GPU that torch sees, and one without a GPU."""
    return max(1, torch.cuda.device_count()) if wanted == AUTO else wanted


def device_of(rank: int, config: EncoderConfig) -> torch.device:
    """Where that rank computes: on a GPU of its own, or on the CPU with the others."""
    device = resolve_device(config.device)
    return torch.device("cuda", rank) if device.type == "cuda" else device


@contextmanager
def ranks(
    order: RankOrder,
    pairs: Sequence[Pair],
    *,
    count: int,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
    command: Sequence[str] = COMMAND,
) -> Iterator[None]:
    """Inside, `train` over these pairs is the work of `count` processes; afterwards this one is alone again.

    The others meet it in a temporary folder inside `folder`, on a disk of this machine. On a CPU they divide its
    threads; elsewhere each has a GPU of its own (written, not run: no machine with two was at hand).

    `count` decides no more than rounding, unless there is dropout, which each process draws for its share: a run that
    goes on with another number of processes is allowed, and ends with other bits. Checkpoints note the number.

    Raises:
        ConfigError: there are not as many GPUs.
        RankFailed: one of the others ended before the training did.
        Stopped: `stop()` was true while the others were starting.
    """
    if count == 1:
        yield
        return
    _check(count, order.encoder)
    threads = max(1, torch.get_num_threads() // count)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="meeting-") as name, _num_threads(threads):
        meeting = Meeting(Path(name))
        meeting.write(order, pairs)
        others = _Others(meeting, count, command=command, threads=threads)
        try:
            others.wait_until_ready(stop)
            join_group(Processes(rank=0, count=count), meeting.group, device=device_of(0, order.encoder))
            with others.watched():
                yield
        except RuntimeError as error:  # so does torch say that a peer is gone
            if (failure := others.failure()) is not None:
                raise failure from error
            raise
        finally:
            others.kill()  # first, or they would cry over the lost group
            leave_group()


class _Others:
    """The other ranks as rank 0 sees them, from their start on."""

    def __init__(self, meeting: Meeting, count: int, *, command: Sequence[str], threads: int) -> None:
        self._meeting = meeting
        self._count = count
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        for rank in range(1, count):
            arguments = [*command, str(meeting.folder), str(rank), str(count), str(os.getpid())]
            self._processes[rank] = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,  # closes when rank 0 ends
                stdout=2,  # what a library prints is no output of ours
                env=environment,
            )

    def wait_until_ready(self, stop: Callable[[], bool]) -> None:
        """All of them have loaded what they need."""
        waited_for, deadline = set(self._processes), time.monotonic() + _READY_SECONDS
        while waited_for := {rank for rank in waited_for if not self._meeting.ready(rank).exists()}:
            if self._ended():
                raise self._failure()
            if stop():
                raise Stopped("stopped while the other processes were starting")
            if time.monotonic() > deadline:
                late = f"process {min(waited_for)} of the {self._count} that train together was not ready in time"
                raise RankFailed(f"{late} ({_READY_SECONDS:.0f} s); start the training again", rank=min(waited_for))
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, nothing waits long for a rank that was lost."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_WATCH_SECONDS):
                if any(self._ended().values()):  # 0 is one that has done its part
                    break_group()
                    return

        thread = threading.Thread(target=watch, name="ranks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def failure(self) -> RankFailed | None:
        """What to say of the rank that was lost first; None if after a moment all are still there."""
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        while time.monotonic() < deadline:
            if self._ended():
                return self._failure()
            time.sleep(_POLL_SECONDS)
        return None

    def kill(self) -> None:
        """None of them is left."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def _ended(self) -> dict[int, int]:
        """The exit codes, by rank, of those that are gone."""
        polled = {rank: process.poll() for rank, process in self._processes.items()}
        return {rank: code for rank, code in polled.items() if code is not None}

    def _failure(self) -> RankFailed:
        """Those that lost a peer end too: whoever said nothing was the first, else whoever spoke first."""
        ended = self._ended()
        silent = [rank for rank in ended if not self._meeting.said(rank).exists()]
        spoken = sorted(set(ended) - set(silent), key=lambda rank: self._meeting.said(rank).stat().st_mtime_ns)
        first = [*silent, *spoken][0]
        who = f"process {first} of the {self._count} that train together (counted from 0)"
        how = (
            _how(ended[first]) if first in silent else self._meeting.said(first).read_text(encoding="utf-8")[:_MAX_SAID]
        )
        message = f"{who} ended: {how}; started again, the training goes on from its last checkpoint"
        return RankFailed(message, rank=first)


def _how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, perhaps for lack of memory"
    return f"signal {-code}" if code < 0 else f"exit code {code}, without a word"


def _check(count: int, config: EncoderConfig) -> None:
    if dist.is_initialized():
        raise ConfigError(f"processes is {count} inside a group of torch.distributed; leave that", param="processes")
    device = resolve_device(config.device)
    available = torch.cuda.device_count()
    if device.type == "cuda" and count > available:
        raise ConfigError(f"processes is {count} and there are {available} GPUs; lower it", param="processes")
    if device.type not in ("cpu", "cuda") or device.index:
        message = f"processes is {count} and device is {config.device!r}; several train on 'cpu' or on the first GPUs"
        raise ConfigError(message, param="processes")


@contextmanager
def _num_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
