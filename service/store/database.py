"""The database: connections, transactions, schema. SQLite in one file or PostgreSQL, with the same promises.

`read()` sees one consistent state and cannot write; `write()` is committed whole or not at all.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import sqlite

from service.store.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidSetting,
    InvalidValue,
    SchemaMismatch,
    StorageFull,
    StoreError,
)
from service.store.settings import DATABASE_URL
from service.store.sqlite_connection import BUSY_SECONDS, begin, prepare
from service.store.state_number import StateNumber
from service.store.tables import SCHEMA_VERSION
from service.store.turns import Turns

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Tx: TypeAlias = sa.Connection
"""An open transaction; every function of the store that touches rows takes one first."""

MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRES: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=30s",
}
_SQLITE_FULL, _POSTGRES_FULL = 13, "53100"
_MIGRATION_LOCK = 0x1F0CE  # any number, as long as all versions of this program use it


class Database:
    """Hands out transactions; one object serves all threads of a process."""

    def __init__(self, engine: sa.Engine) -> None:
        self._writer = engine
        self._writes, self._last_write = itertools.count(1), 0
        self._state: StateNumber | None = None
        self._turn: Callable[[], AbstractContextManager[None]] = nullcontext
        if engine.dialect.name == "sqlite":
            self._reader = engine.execution_options(infonce_read=True)
            self._state = StateNumber(Path(str(engine.url.database)))
            self._turn = Turns(seconds=BUSY_SECONDS).next
        else:  # as SQLite has it: all statements of a transaction see the same state
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @classmethod
    def open(cls, url: str) -> Self:
        """A database whose schema is the one that this program knows.

        Raises:
            SchemaMismatch: it is empty, older or newer.
            DatabaseUnavailable: it does not answer.
            InvalidSetting: the URL is not understood.
        """
        parsed = _parse(url)
        if parsed.drivername == "sqlite" and not Path(str(parsed.database)).exists():
            raise SchemaMismatch(f"There is no database at {parsed.database}; run `infonce migrate`")
        database = cls(_engine(parsed))
        try:
            with database.read() as tx:
                _check_schema(tx)
        except StoreError:
            database.close()
            raise
        return database

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction that sees one state of the database throughout and cannot write.

        Raises:
            DatabaseUnavailable: no connection or no answer in time.
        """
        with _translated(), self._reader.begin() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that is committed at the end and undone by any exception; on SQLite there is one at a time.

        Raises:
            DatabaseUnavailable: no connection, lock or answer in time; nothing was written, as far as can be known.
            StorageFull: the disk is full; nothing was written.
            Conflict: another row forbids it.
        """
        try:
            with self._turn(), _translated(), self._writer.begin() as tx:
                yield tx
        finally:  # a commit whose answer was lost may have happened
            self._last_write = next(self._writes)

    @property
    def sees_all_writes(self) -> bool:
        """Whether `mark` tells of what other processes write as well: SQLite counts changes, PostgreSQL does not."""
        return self._state is not None

    def mark(self) -> int:
        """Another number than before if anything was committed since then by this object, or by anybody if it sees all.

        It takes a hundredth of what a transaction does.
        """
        return self._last_write if self._state is None else self._state.number()

    def close(self) -> None:
        """All idle connections are closed."""
        self._writer.dispose()
        if self._state is not None:
            self._state.close()


def now_of(tx: Tx) -> float:
    """The unix seconds by which leases count: the server's on PostgreSQL, whose users' clocks may differ, else ours."""
    if tx.dialect.name == "postgresql":
        return float(tx.execute(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))).scalar_one())
    return time.time()


def insert(tx: Tx, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT of this database's own dialect, which knows ON CONFLICT."""
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # a tenth of a second that no start with SQLite waits for

        return postgresql.insert(table)
    return sqlite.insert(table)


def migrate(url: str) -> None:
    """The database exists and has the newest schema; two migrations at once run one after the other.

    Raises:
        SchemaMismatch: a newer program has written it.
        DatabaseUnavailable: it does not answer, or another migration holds the lock for too long.
        InvalidSetting: the URL is not understood.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    parsed = _parse(url)
    if parsed.drivername == "sqlite":
        _make_private(Path(str(parsed.database)))
    engine = _engine(parsed)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with _translated(), engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaMismatch(f"The database was written by a newer version ({error}); update this program") from error
    finally:
        engine.dispose()


def sqlite_url(path: Path) -> str:
    """The URL of a database file, whatever characters its path has."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def sqlite_path(url: str) -> Path | None:
    """The file of the database, or None where it is a server.

    Raises:
        InvalidSetting: the URL is not understood.
    """
    parsed = _parse(url)
    return Path(str(parsed.database)) if parsed.drivername == "sqlite" else None


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed is not None and parsed.drivername == "sqlite" and Path(parsed.database or "").is_absolute():
        return parsed
    remedy = "must be sqlite:////absolute/path/store.db or postgresql://user:password@host/name"
    raise InvalidSetting(DATABASE_URL, remedy)


def _engine(url: sa.URL) -> sa.Engine:
    """An engine that opens nothing yet; `hide_parameters` keeps the users' texts out of errors and logs."""
    if url.drivername != "sqlite":
        try:
            return sa.create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=5,
                pool_recycle=1800,
                pool_timeout=5,
                connect_args=_POSTGRES,
            )
        except ModuleNotFoundError as error:
            raise InvalidSetting(DATABASE_URL, "needs psycopg: pip install 'infonce-service[postgres]'") from error
    # 40 connections: FastAPI's thread pool has 40 threads, and an open file is cheap; what is opened stays open
    engine = sa.create_engine(url, hide_parameters=True, pool_size=40, max_overflow=0, pool_timeout=10)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _make_private(path: Path) -> None:
    """The database file exists and is its owner's alone; SQLite gives its side files the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(f"{path}: {error.strerror}") from error


def _check_schema(tx: Tx) -> None:
    found = None
    if sa.inspect(tx).has_table("alembic_version"):
        found = tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    if found != SCHEMA_VERSION:
        raise SchemaMismatch(
            f"The database has schema {found or 'none'}, this program needs {SCHEMA_VERSION}; run `infonce migrate`"
        )


@contextmanager
def _translated() -> Iterator[None]:
    """No exception of SQLAlchemy or a driver leaves; our own pass."""
    try:
        yield
    except exc.TimeoutError as error:
        raise DatabaseUnavailable("no connection became free in time") from error
    except exc.StatementError as error:  # the driver's errors are a branch of it
        raise _as_ours(error) from error


def _as_ours(error: exc.StatementError) -> StoreError:
    cause = error.orig
    if isinstance(cause, StoreError):  # a column type refused the value
        return cause
    code = getattr(cause, "sqlite_errorcode", None) or getattr(cause, "sqlstate", None)
    reason = str(cause).strip().split("\n")[0]
    if code in (_SQLITE_FULL, _POSTGRES_FULL):
        return StorageFull(f"The database cannot grow: {reason}. Free disk space and try again")
    if isinstance(error, exc.IntegrityError):
        return Conflict("conflict", f"Another row forbids it: {reason}")
    if isinstance(error, exc.DataError):
        return InvalidValue(f"The database refuses a value: {reason}")
    return DatabaseUnavailable(reason)
