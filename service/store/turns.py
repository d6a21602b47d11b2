"""Writers of one process wait for one another here: SQLite's own way of waiting is to look again every so often."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.store.errors import DatabaseUnavailable


class Turns:
    """One at a time; who waits is woken at once."""

    def __init__(self, *, seconds: float) -> None:
        """`seconds`: how long anybody waits."""
        self._seconds = seconds
        self._lock = threading.Lock()

    @contextmanager
    def next(self) -> Iterator[None]:
        """It is this thread's turn inside.

        Raises:
            DatabaseUnavailable: it did not come in time.
        """
        if not self._lock.acquire(timeout=self._seconds):
            raise DatabaseUnavailable(f"another writer of this process has not ended within {self._seconds:g} s")
        try:
            yield
        finally:
            self._lock.release()
