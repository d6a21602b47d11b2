"""What was read from the database a moment ago: a few callers send most requests, and ask for the same things."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.store.database import Database

_MOST: Final = 1_024

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Read(Generic[Value]):
    value: Value
    mark: int
    at: float


class Recent(Generic[Key, Value]):
    """Values by key, for as long as nothing is written.

    May be used by several threads.
    """

    def __init__(
        self, database: Database, *, unseen_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`unseen_seconds`: for how long it may be believed what others may have changed, where that is not seen."""
        self._database = database
        self._unseen_seconds = unseen_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[Key, _Read[Value]] = {}

    def get(self, key: Key) -> Value | None:
        """What was read of `key`, if it can still be believed."""
        found = self._values.get(key)
        if found is None or found.mark != self._database.mark():
            return None
        is_sure = self._database.sees_all_writes or self._clock() < found.at + self._unseen_seconds
        return found.value if is_sure else None

    def read(self, key: Key, find: Callable[[], Value]) -> Value:
        """The value of `key`, as `find` reads it if it must; what `find` raises is not remembered."""
        if (known := self.get(key)) is not None:
            return known
        mark, now = self._database.mark(), self._clock()  # before it is read: a write meanwhile may not be in it
        value = find()
        with self._lock:
            if len(self._values) >= _MOST:
                self._values.clear()
            self._values[key] = _Read(value, mark, now)
        return value
