"""A gateway of its own for a benchmark: a process over an empty store, without broker and workers."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from infonce.errors import InfonceError

_COMMAND: Final = (sys.executable, "-m", "service.cli")
_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4_096


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """One that answers."""

    url: str
    process: int

    @property
    def resident_bytes(self) -> int:
        """What it holds in memory now."""
        return int(Path(f"/proc/{self.process}/statm").read_text().split()[1]) * _PAGE_BYTES


@contextmanager
def gateway(model: Path, *, threads: int) -> Iterator[tuple[Gateway, str]]:
    """A gateway and the name under which it knows the model; it has ended afterwards.

    Raises:
        InfonceError: it does not start; the sentence ends with the last line that it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="infonce-bench-") as place:
        root = Path(place)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("INFONCE_", "OMP_"))},
            "INFONCE_DATABASE_URL": f"sqlite:///{root / 'store.db'}",
            "INFONCE_ARTIFACTS": str(root / "artifacts"),
            "INFONCE_BROKER_URL": "redis://127.0.0.1:1",  # nothing rings: no job is ordered
            "INFONCE_MODELS": str(model.parent),
            "INFONCE_THREADS": str(threads),
            "INFONCE_PORT": "0",
        }
        subprocess.run([*_COMMAND, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL, cwd=root)
        said = root / "said.txt"  # a file: a pipe that nobody empties would stop who writes into it
        with said.open("w") as out:
            process = subprocess.Popen(
                [*_COMMAND, "gateway"], env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=root
            )
        try:
            yield Gateway(url=_address(process, said), process=process.pid), model.name
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: "subprocess.Popen[bytes]", said: Path) -> str:
    """Where it listens, once it says so."""
    ends = monotonic() + _START_SECONDS
    while process.poll() is None and monotonic() < ends:
        for line in said.read_text().splitlines():
            if line.startswith("infonce listens on "):
                return line.split()[-1]
        sleep(_POLL_SECONDS)
    last = (said.read_text().strip().splitlines() or ["it says nothing"])[-1]
    raise InfonceError(f"the gateway does not start: {last}")
