"""The embedded stack: broker, gateway and three workers as processes of one home, started, watched and ended together.

Files lie under the home: `infonce.db`, `artifacts/`, `valkey/`, `logs/`. A worker that ends is started again, a few
times; the end of the broker or the gateway ends the stack. One home serves one stack at a time.
"""

import fcntl
import http.client
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Final

from service.errors import ServiceError, StartRefused
from service.parts import Part
from service.store.database import migrate, sqlite_url
from service.store.queue import QUEUES
from service.store.settings import ARTIFACTS, BROKER_URL, DATABASE_URL, HOME_ARTIFACTS, HOME_DATABASE, READY_FILE
from service.valkey import Valkey, configure

READY_SECONDS: Final = 60.0
"""A machine that is busy with something else may take this long; 3 s is usual."""
END_SECONDS: Final = 15.0
"""For gateway and workers: a running job is given back within 5 s."""
BROKER_END_SECONDS: Final = 3.0
MAX_RESTARTS: Final = 3
"""Of a worker that ends within a minute of each start; the pauses are 0, 1 and 2 s."""
HEALTHY_SECONDS: Final = 60.0
"""A worker that ran for so long begins to count anew."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach our loopback
_PATHS = (ARTIFACTS, "INFONCE_MODELS", "INFONCE_API_KEY_FILE")
_POLL_SECONDS = 0.1


class StackBroken(ServiceError):
    """A part of the stack has ended and cannot be replaced; `str(error)` says which, and where its log is."""

    def __init__(self, message: str) -> None:
        super().__init__("unavailable", message)


@dataclass(frozen=True, kw_only=True, slots=True)
class StackSettings:
    """Where a stack lives and listens."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 0
    """0 is a free one."""
    environment: Mapping[str, str] = field(repr=False)
    """What its processes inherit."""


def absolute_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that name a file or folder, made independent of the folder in which a process starts."""
    return {name: str(Path(environment[name]).absolute()) for name in _PATHS if environment.get(name)}


def worker_command(queue: str) -> list[str]:
    """The command line of a worker of that queue."""
    flags = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    celery = [sys.executable, "-m", "celery", "--app", "worker.app", "worker"]
    return [*celery, "--queues", queue, "--concurrency", "1", "--hostname", f"{queue}@%h", *flags]


class Stack:
    """The processes of one home. Start and watch it from the main thread; `stop` may be called at any time."""

    def __init__(self, settings: StackSettings) -> None:
        self._settings = settings
        self._home = settings.home.absolute()
        self._lock: IO[bytes] | None = None
        self._broker: Part | None = None
        self._others: list[Part] = []
        self.interrupted = False
        """Set by a signal: whatever goes on ends at its next safe point."""
        self.in_haste = False
        """Set by a second signal: `stop` kills instead of asking."""
        self.url = ""
        """Where the gateway answers on this machine, once it has started."""

    @property
    def home(self) -> Path:
        """The folder of everything that the stack keeps."""
        return self._home

    def start(self) -> None:
        """Every part is ready.

        Raises:
            KeyboardInterrupt: a signal came meanwhile.
            StartRefused: something is missing, taken or misconfigured; the message says what.
            StoreError: the database cannot be brought to this version's schema.
        """
        self._take_home()
        port = _free_port(self._settings.host, self._settings.port)
        valkey = configure(self._home / "valkey", _free_port("127.0.0.1", 0))
        environment = self._environment(valkey)
        self._broker = self._part("valkey", valkey.command, environment=self._settings.environment)
        self._broker.start()
        migrate(environment[DATABASE_URL])
        self._await(self._broker, valkey.answers)

        gateway = [sys.executable, "-m", "service.cli", "gateway", "--host", self._settings.host, "--port", str(port)]
        self._others = [self._part("gateway", gateway, environment=environment)]
        self._others += [self._worker(queue, environment) for queue in QUEUES]
        for part in self._others:
            part.start()
        url = _local_url(self._settings.host, port)
        for part in self._others:
            self._await(part, part.ready_path.exists if part.ready_path else lambda: _answers(url))
        self.url = url

    def check(self) -> None:
        """Every part runs; a worker that had ended has been started again.

        Raises:
            KeyboardInterrupt: a signal has come.
            StackBroken: the broker or the gateway has ended, or a worker does so again and again.
        """
        self._heed_signal()
        for part in (self._broker, *self._others):
            if part is not None and (code := part.ended) is not None:
                self._replace(part, code)

    def watch(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Every part ran until `ended()`.

        Raises:
            KeyboardInterrupt, StackBroken: as `check`.
        """
        while True:
            last = ended()
            self.check()
            if last:
                return
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """No process of the stack is left: workers gave their jobs back, then the broker ended."""
        self._end(self._others, seconds=END_SECONDS)
        self._end([self._broker] if self._broker else [], seconds=BROKER_END_SECONDS)
        if self._lock is not None:
            self._lock.close()

    def _take_home(self) -> None:
        """The home exists, is ours alone, and the logs of an earlier run are put aside."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._home / "logs").mkdir(mode=0o700, exist_ok=True)
            self._lock = (self._home / "lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartRefused(f"another infonce runs in {self._home}; stop it, or give another --home") from None
        except OSError as error:
            raise StartRefused(f"{self._home} cannot be used as a home: {error.strerror or error}") from None
        for log_path in (self._home / "logs").glob("*.log"):
            log_path.rename(log_path.with_suffix(".log.previous"))

    def _environment(self, valkey: Valkey) -> dict[str, str]:
        return {
            **self._settings.environment,
            **absolute_paths(self._settings.environment),
            DATABASE_URL: sqlite_url(self._home / HOME_DATABASE),
            BROKER_URL: valkey.url,
            ARTIFACTS: str(self._home / HOME_ARTIFACTS),
        }

    def _part(self, name: str, command: Sequence[str], *, environment: Mapping[str, str]) -> Part:
        log_path = self._home / "logs" / f"{name}.log"
        return Part(name=name, command=command, environment=environment, log_path=log_path, folder=self._home)

    def _worker(self, queue: str, environment: Mapping[str, str]) -> Part:
        ready_path = self._home / f"worker-{queue}.ready"
        part = self._part(
            f"worker-{queue}", worker_command(queue), environment={**environment, READY_FILE: str(ready_path)}
        )
        part.ready_path = ready_path
        return part

    def _await(self, part: Part, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            self._heed_signal()
            if part.ended is not None:
                raise StartRefused(f"{part.name} did not start: {part.last_words()} (log: {part.log_path})")
            if time.monotonic() > deadline:
                raise StartRefused(f"{part.name} was not ready within {READY_SECONDS:.0f} s (log: {part.log_path})")
            time.sleep(_POLL_SECONDS)

    def _replace(self, part: Part, code: int) -> None:
        """A worker is started again after a pause that grows; the sweep puts the job back that it held."""
        if time.monotonic() - part.started_at > HEALTHY_SECONDS:
            part.num_restarts = 0
        if part.ready_path is None or part.num_restarts == MAX_RESTARTS:
            how = f"with exit code {code}: {part.last_words()}" if code >= 0 else f"by signal {-code}"
            raise StackBroken(f"{part.name} has ended {how} (log: {part.log_path})")
        time.sleep(part.num_restarts)
        part.num_restarts += 1
        part.start()

    def _heed_signal(self) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def _end(self, parts: Sequence[Part], *, seconds: float) -> None:
        for part in parts:
            part.ask_to_end()
        deadline = time.monotonic() + seconds
        while any(part.running for part in parts) and time.monotonic() < deadline and not self.in_haste:
            time.sleep(_POLL_SECONDS)
        for part in parts:
            part.kill()


@contextmanager
def interruptible(stack: Stack) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM are noted for the stack's next safe point; a further one makes `stop` kill.

    The handler raises nothing: an exception out of a handler is lost where it meets a weak reference's callback or
    a destructor, and one in the middle of a `with lock` leaves the lock held.
    """

    def note(number: int, frame: FrameType | None) -> None:
        stack.in_haste = stack.interrupted
        stack.interrupted = True

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port(host: str, port: int) -> int:
    """`port` if it is free, or any free one for 0.

    Raises:
        StartRefused: the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise StartRefused(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def _local_url(host: str, port: int) -> str:
    """How this machine reaches a gateway that listens on `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(f"{url}/readyz", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False
