"""Starts the product's processes for a test and ends them, each by its own id."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from service import launch

Answer = TypeVar("Answer")

POLL_SECONDS = 0.02
COMMANDS = Path(sys.executable).parent
"""Where `infonce` lies: beside the interpreter that runs the tests."""


def free_port() -> int:
    """A port of the loopback interface that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(ask: Callable[[], Answer | None], what: str, *, seconds: float = 40.0) -> Answer:
    """The first answer that is true; fails, naming `what`, when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(POLL_SECONDS)
    return answer


def answers(url: str) -> bool:
    """Whether a GET of `url` succeeds just now; the standard library's client, for it needs no time to set up."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Processes:
    """Processes that end with the test, whatever becomes of it; each writes to its own log in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """The started process: it sees `environment` and a PATH, nothing of ours, and dies with the test run."""
        path = os.pathsep.join((str(COMMANDS), os.environ.get("PATH", os.defpath)))
        with self.log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                launch.command(command),
                env={"PATH": path, "HOME": str(self.folder), **environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.running[name]

    def log(self, name: str) -> Path:
        """Where the process of that name writes."""
        return self.folder / f"{name}.log"

    def wait_for(self, name: str, ask: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Returns when `ask` is true; fails with the log when the process ends before."""
        process = self.running[name]

        def ready() -> bool:
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name).read_text()}"
            return ask()

        until(ready, f"{name} is ready", seconds=seconds)

    def end(self, name: str, *, seconds: float = 20.0) -> int:
        """The exit code after SIGTERM; fails if it took longer than `seconds`."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} went on {seconds} s after SIGTERM:\n{self.log(name).read_text()}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in reversed(list(self.running)):
            self.end(name)
