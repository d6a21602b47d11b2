"""A measurement in a process of its own: what it printed last, and the most memory that it and its children held."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

from infonce import lifeline
from infonce.errors import InfonceError
from infonce.peak_memory import high_water_bytes

_POLL_SECONDS: Final = 0.2  # a look at /proc takes a millisecond: 1/400 of two cores
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4_096

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What a process left."""

    printed: dict[str, Any]
    """The JSON object on the last line of its stdout."""
    peak_bytes: int
    """Of the process tree: the larger of the highest sum of resident sizes that was seen and of any one process's own
    high-water mark (VmHWM), which misses no spike between two looks. Pages that processes share count in each."""


def check_linux() -> None:
    """Raise `InfonceError` unless memory can be read."""
    if sys.platform != "linux":
        raise InfonceError("memory is read from /proc, which only Linux has; run it there")


def run(command: Sequence[str], *, on_poll: Callable[[float], None]) -> Ended:
    """The command ran to its end; `on_poll` is told its seconds now and then.

    Raises:
        InfonceError: it failed; the sentence ends with the last line that it wrote on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="infonce-bench-") as folder, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **_OFFLINE},
            cwd=folder,  # Python may import from where it starts, and some trainers write there
        )
        try:
            with ending_orderly():  # else the process would outlive this one
                peak = _watched(process, on_poll)
                printed = process.stdout.read() if process.stdout else ""
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if process.stdout:
                process.stdout.close()
        errors.seek(0)
        said = errors.read().strip().splitlines()
    lines = printed.strip().splitlines()
    if process.returncode or not lines:
        reason = said[-1].removeprefix("infonce: ") if said else f"exit code {process.returncode}"
        raise InfonceError(f"a measurement failed ({' '.join(command[:5])} …): {reason}")
    return Ended(printed=json.loads(lines[-1]), peak_bytes=peak)


def in_fresh_process(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a process that has done nothing else, and ends with this one, returned; call it from the main thread."""
    context, parent = get_context("spawn"), (os.getpid(),)
    with ProcessPoolExecutor(1, mp_context=context, initializer=lifeline.end_with, initargs=parent) as fresh:
        return fresh.submit(function, *arguments, **named).result()


@contextmanager
def ending_orderly() -> Iterator[None]:
    """Inside, SIGTERM is an exception: what was started for this process ends, and its temporary files go."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _watched(process: "subprocess.Popen[str]", on_poll: Callable[[float], None]) -> int:
    """The peak of the tree when the process has ended; what it prints must fit a pipe (64 KB)."""
    began, peak = perf_counter(), 0
    while True:
        peak = max(peak, tree_bytes(process.pid))
        on_poll(perf_counter() - began)
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return peak


def tree_bytes(root: int) -> int:
    """The resident bytes of a process and all below it, or the high-water mark of one of them where that is more."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    resident: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()  # the name before may hold anything
        except OSError:  # it has ended
            continue
        children[int(fields[1])].append(int(path.name))
        resident[int(path.name)] = int(fields[21]) * _PAGE_BYTES
    tree = [root]
    for process in tree:
        tree.extend(children[process])
    return max(sum(resident.get(process, 0) for process in tree), *(high_water_bytes(process) or 0 for process in tree))
