"""A process of the stack: started so that it cannot outlive us, with a log of its own, ended by its id alone."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service import launch

_TAIL_BYTES = 4096


@dataclass(kw_only=True, slots=True)
class Part:
    """One program of the stack; `start` may be called again after it has ended, always from the main thread."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log_path: Path
    folder: Path
    """Where it starts; Python imports from there first, so it must hold no packages."""
    ready_path: Path | None = None
    """A file that the program creates when it is ready."""
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    """On the monotonic clock."""
    num_restarts: int = 0
    """Since it last ran for a while."""

    def start(self) -> None:
        """It runs in a session of its own, so that Ctrl-C reaches us alone, and dies with us."""
        self.started_at = time.monotonic()
        if self.ready_path is not None:
            self.ready_path.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            self.process = subprocess.Popen(
                launch.command(self.command),
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before it was started."""
        return None if self.process is None else self.process.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def ask_to_end(self) -> None:
        """It was told to end."""
        if self.process is not None and self.running:
            self.process.terminate()

    def kill(self) -> None:
        """Nothing of it is left, nor of what it started in its session."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """The last line of its log that says something."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
