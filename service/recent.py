"""What was read from the database a moment ago: a few callers send most requests, and ask for the same things."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.store.database import Database

RECENT_SECONDS: Final = 1.0
"""For so long something may be believed that another process has changed."""

_MOST: Final = 1_024

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Read(Generic[Value]):
    value: Value
    last_write: int
    ends: float


class Recent(Generic[Key, Value]):
    """Values by key, each for a second at most; whatever this process writes ends them all at once.

    May be used by several threads.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[Key, _Read[Value]] = {}

    def get(self, key: Key) -> Value | None:
        """What was read of `key`, if it can still be believed."""
        found = self._values.get(key)
        if found is None or found.last_write != self._database.last_write or found.ends < self._clock():
            return None
        return found.value

    def read(self, key: Key, find: Callable[[], Value]) -> Value:
        """The value of `key`, as `find` reads it if it must; what `find` raises is not remembered."""
        if (known := self.get(key)) is not None:
            return known
        last_write = self._database.last_write  # before it is read: a write meanwhile may not be in it
        value = find()
        with self._lock:
            if len(self._values) >= _MOST:
                self._values.clear()
            self._values[key] = _Read(value, last_write, self._clock() + RECENT_SECONDS)
        return value
