"""An upload that is cut off, by its sender or by the death of the gateway, leaves no row, and no part for long."""

import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.processes import Processes, answers, free_port, until
from tests.faults.homes import Home

MIB = 1 << 20
BOUNDARY = "cut-off"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="pairs.jsonl"\r\n\r\n'
).encode()


class Gateway:
    """`infonce gateway` over a home, as a process that can be killed."""

    def __init__(self, home: Home, processes: Processes) -> None:
        self.port = free_port()
        self._home = home
        self._processes = processes

    def start(self) -> None:
        environment = {
            "INFONCE_DATABASE_URL": self._home.url,
            "INFONCE_ARTIFACTS": str(self._home.artifacts.root),
            "INFONCE_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        command = [sys.executable, "-m", "service.cli", "gateway", "--port", str(self.port)]
        self._processes.start("gateway", command, environment=environment)
        self._processes.wait_for("gateway", lambda: answers(f"http://127.0.0.1:{self.port}/healthz"))

    def kill(self) -> None:
        process = self._processes.running.pop("gateway")
        process.send_signal(signal.SIGKILL)
        process.wait(20)

    def half_an_upload(self) -> socket.socket:
        """A connection on which half of a file has come, of which at least a part is on disk."""
        sender = socket.create_connection(("127.0.0.1", self.port))
        headers = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {6 * MIB}\r\n"
        sender.sendall(
            f"POST /v1/files HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode()
            + HEAD
            + (b"x" * 1_023 + b"\n") * (3 * 1_024)
        )
        until(lambda: [path for path in self.parts() if path.stat().st_size >= MIB], "a part on disk")
        return sender

    def parts(self) -> list[Path]:
        return list((self._home.artifacts.root / "tmp").glob("*.part"))

    def files(self) -> list[object]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/files", timeout=10) as answer:
            found: list[object] = json.load(answer)["data"]
        return found + list((self._home.artifacts.root / "files").iterdir())


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    home = Home.new(tmp_path / "home")
    with Processes(tmp_path) as processes:
        gateway = Gateway(home, processes)
        gateway.start()
        yield gateway
    home.close()


def test_an_upload_that_ends_early_is_as_if_it_had_never_come(gateway: Gateway) -> None:
    gateway.half_an_upload().close()
    until(lambda: gateway.parts() == [], "the part is gone")
    assert gateway.files() == []
    with gateway.half_an_upload():
        gateway.kill()
    gateway.start()
    [part] = gateway.parts()  # it may be another gateway's, which goes on
    assert gateway.files() == []
    gateway.kill()
    os.utime(part, (0, 0))
    gateway.start()
    assert gateway.parts() == gateway.files() == []
