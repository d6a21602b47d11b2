"""The service for a benchmark: a gateway over a store of its own, alone or with broker and workers."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from infonce.bench.processes import ending_orderly
from infonce.errors import InfonceError
from infonce.peak_memory import private_bytes

_PYTHON: Final = (sys.executable, "-m")
_COMMAND: Final = (*_PYTHON, "service.cli")
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 30.0  # of the whole stack: 15 s for gateway and workers, 3 s for the broker
_POLL_SECONDS: Final = 0.05
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4_096
_SAYS: Final = "infonce listens on "


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """One that answers."""

    url: str
    process: int

    @property
    def resident_bytes(self) -> int:
        """What it holds in memory now."""
        return int(Path(f"/proc/{self.process}/statm").read_text().split()[1]) * _PAGE_BYTES

    @property
    def private_bytes(self) -> int:
        """Of that, what no file stands behind."""
        return private_bytes(self.process) or 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder for a store, as `infonce serve` knows it, and what is served from it."""

    home: Path
    model: Path
    threads: int


@contextmanager
def gateway(model: Path, *, threads: int) -> Iterator[tuple[Gateway, str]]:
    """A gateway over an empty store and the name under which it knows the model; it has ended afterwards.

    Raises:
        InfonceError: it does not start; the sentence ends with the last line that it wrote.
    """
    with (
        tempfile.TemporaryDirectory(prefix="infonce-bench-") as place,
        gateway_at(Place(home=Path(place), model=model, threads=threads)) as served,
    ):
        yield served, model.name


@contextmanager
def gateway_at(place: Place) -> Iterator[Gateway]:
    """A gateway over the store of that place, without broker and workers: jobs wait. It has ended afterwards.

    Raises:
        InfonceError: it does not start; the sentence ends with the last line that it wrote.
    """
    environment = {
        **_environment(place),
        "INFONCE_DATABASE_URL": f"sqlite:///{place.home / 'infonce.db'}",
        "INFONCE_ARTIFACTS": str(place.home / "artifacts"),
        "INFONCE_BROKER_URL": "redis://127.0.0.1:1",  # nothing rings
        "INFONCE_PORT": "0",
    }
    migrate = [*_COMMAND, "migrate"]
    subprocess.run(migrate, env=environment, check=True, stdout=subprocess.DEVNULL, cwd=place.home)
    with _running(["gateway"], environment, home=place.home) as (url, process):
        yield Gateway(url=url, process=process)


@contextmanager
def stack_at(place: Place) -> Iterator[Gateway]:
    """`infonce serve` over the store of that place: broker, gateway and workers. All have ended afterwards.

    Raises:
        InfonceError: it does not start, for lack of a broker perhaps; the sentence ends with the last line it wrote.
    """
    words = ["serve", "--home", str(place.home), "--port", "0"]
    with _running(words, _environment(place), home=place.home) as (url, process):
        yield Gateway(url=url, process=_gateway_of(process))


def _environment(place: Place) -> dict[str, str]:
    """This process's, without what it says of another installation."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("INFONCE_", "OMP_"))},
        "INFONCE_MODELS": str(place.model.parent),
        "INFONCE_THREADS": str(place.threads),
    }


@contextmanager
def _running(words: Sequence[str], environment: Mapping[str, str], *, home: Path) -> Iterator[tuple[str, int]]:
    """Where the command listens, and its process, which ends with this one whatever ends that.

    The kernel sees to it; told by SIGTERM, this process itself does, and the store in its temporary folder goes too.
    """
    said = home / "said.txt"  # a file: a pipe that nobody empties would stop who writes into it
    command = [*_PYTHON, "service.launch", str(os.getpid()), *_COMMAND, *words]
    with said.open("w") as out:
        process = subprocess.Popen(command, env=dict(environment), stdout=out, stderr=subprocess.STDOUT, cwd=home)
    try:
        with ending_orderly():
            yield _address(process, said), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", said: Path) -> str:
    """Where it listens, once it says so."""
    ends = monotonic() + _START_SECONDS
    while process.poll() is None and monotonic() < ends:
        for line in said.read_text().splitlines():
            if line.startswith(_SAYS):
                return line.removeprefix(_SAYS).split()[0]
        sleep(_POLL_SECONDS)
    last = (said.read_text().strip().splitlines() or ["it says nothing"])[-1]
    raise InfonceError(f"the gateway does not start: {last}")


def _gateway_of(stack: int) -> int:
    """The process of the stack that is its gateway."""
    for path in Path("/proc").iterdir():
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split() if path.name.isdigit() else []
            words = (path / "cmdline").read_bytes().split(b"\0") if fields and int(fields[1]) == stack else []
        except OSError:  # it has ended
            continue
        if b"gateway" in words:
            return int(path.name)
    raise InfonceError("the stack runs without a gateway")
