"""The number of a SQLite database's state (`PRAGMA data_version`), which says whether anybody has written."""

import itertools
import sqlite3
import threading
from pathlib import Path


class StateNumber:
    """A connection that is asked for nothing else; may be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._unknown = itertools.count(-1, -1)

    def number(self) -> int:
        """Another one whenever another connection has committed; one that never was where that cannot be read."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(
                        f"{self._path.as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
                    )  # a file that is gone is not made anew
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                return next(self._unknown)

    def close(self) -> None:
        """The connection is closed; the next question opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
