"""What a worker process reads from its environment, once."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from infonce.config import AUTO, Auto, Precision
from infonce.limits import check_range, check_whole
from infonce.meeting import wanted_processes
from service.store.settings import READY_FILE, StoreSettings

DRAIN_FILE = "INFONCE_DRAIN_FILE"
"""Set by a worker's main process for its pool process: the file that says that the worker is shutting down."""
WORKER_PID = "INFONCE_WORKER_PID"
"""Set by a worker's main process for its pool process: which process has to be its parent."""

STALL_SECONDS: Final = 900.0
"""The slowest honest silence is a model of gigabytes that is read from a slow disk: some minutes."""

_NUMBER = re.compile(r"[0-9]{1,9}([.][0-9]{1,9})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """Where a worker finds its jobs and files, and what it gives to its children."""

    store: StoreSettings
    threads: int
    """Of a child's matrix products."""
    environment: Mapping[str, str] = field(repr=False)
    processes: int | Auto = AUTO
    """That train one model; auto is one for each GPU of this machine, and one without a GPU."""
    drain_path: Path | None = None
    ready_path: Path | None = None
    precision: Precision = Precision.AUTO
    """Of the vectors of a collection's documents; auto takes those that an evaluation has kept, else the fastest."""
    stall_seconds: float = STALL_SECONDS
    """How long a child may say nothing before it is killed and its attempt is a loss. Finished steps, phases, events
    and every chunk that is computed are words; loading and saving a model are silent."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """The settings of this process.

        Raises:
            ConfigError: `INFONCE_THREADS`, `INFONCE_PROCESSES`, `INFONCE_SERVING_PRECISION` or
                `INFONCE_STALL_SECONDS` is no such value.
            StoreError: a setting of the store is missing.
        """
        given = environment.get("INFONCE_THREADS", "")
        threads = int(given) if given.isdecimal() else given or num_cores()
        check_whole("INFONCE_THREADS", threads, low=1, high=1_024)
        drain, ready = environment.get(DRAIN_FILE), environment.get(READY_FILE)
        return cls(
            store=StoreSettings.from_env(environment),
            threads=int(threads),
            processes=wanted_processes("INFONCE_PROCESSES", environment.get("INFONCE_PROCESSES") or AUTO),
            precision=Precision.for_serving(environment, default=Precision.AUTO),
            stall_seconds=_stall_seconds(environment),
            environment=dict(environment),
            drain_path=Path(drain) if drain else None,
            ready_path=Path(ready) if ready else None,
        )

    @property
    def owner(self) -> str:
        """Who holds a lease, as it is shown to people: the machine and the worker's main process."""
        return f"{socket.gethostname()}:{self.environment.get(WORKER_PID) or os.getpid()}"

    def draining(self) -> bool:
        """Whether the worker is shutting down, so that no job may be begun and a running one has to be given back."""
        return self.drain_path is not None and self.drain_path.exists()


def _stall_seconds(environment: Mapping[str, str]) -> float:
    name = "INFONCE_STALL_SECONDS"
    given = environment.get(name) or str(STALL_SECONDS)
    remedy = f"a child is silent while it loads a model; {STALL_SECONDS:.0f} is the default"
    seconds = float(given) if _NUMBER.fullmatch(given) else given
    check_range(name, seconds, low=10.0, high=86_400.0, remedy=remedy)
    return float(seconds)


def num_cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
