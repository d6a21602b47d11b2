"""What every connection to SQLite is told before it is used, and how a transaction begins on it."""

import sqlite3
import time
from typing import Any, Final

import sqlalchemy as sa

BUSY_SECONDS: Final = 10
"""In which a writer waits for another one."""
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # the lower 8 bits of an error
_PRAGMAS = (
    f"busy_timeout={BUSY_SECONDS * 1000}",  # milliseconds; first, for the next line may already meet a lock
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "trusted_schema=OFF",
)


def prepare(connection: Any, _record: object) -> None:
    """A new connection: durable, one writer at a time, and it waits for its turn."""
    connection.isolation_level = None  # the module's own BEGIN comes too late: it lost 436 of 600 updates in a test
    deadline = time.monotonic() + BUSY_SECONDS
    for pragma in _PRAGMAS:
        while True:
            try:
                connection.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:  # a change of the journal waits for no other one
                if error.sqlite_errorcode & 0xFF not in _BUSY_CODES or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def begin(connection: sa.Connection) -> None:
    """A transaction: one that only reads may not write, and one that writes has the lock from its beginning."""
    reading = connection.get_execution_options().get("infonce_read", False)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reading else 'OFF'}")  # as PostgreSQL's READ ONLY
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
