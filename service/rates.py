"""How often each project asks and which keys do, kept in the memory of this gateway: two gateways grant twice as much.

A bucket holds a minute's worth of requests and is refilled steadily, so that a burst passes and a flood does not.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from service.store import keys
from service.store.database import Database

_MAX_BUCKETS = 10_000  # of projects; one that is forgotten begins with a full bucket


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What is left of a minute's requests after one was asked for."""

    limit: int
    remaining: int
    granted: bool
    reset_seconds: float
    """Until the bucket is full, or, where the request was refused, until the next one would be granted."""

    @property
    def headers(self) -> dict[str, str]:
        """Under OpenAI's names."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds:.3g}s",
        }


class Rates:
    """May be used by several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def ask(self, project: str, limit: int) -> Allowance:
        """One request of `limit` a minute was taken, or refused."""
        per_second = limit / 60
        with self._lock:
            now = self._clock()
            left, at = self._buckets.pop(project, (float(limit), now))
            left = min(float(limit), left + (now - at) * per_second)
            granted = left >= 1
            left -= granted
            self._buckets[project] = (left, now)  # at the end: the first ones are those that asked longest ago
            while len(self._buckets) > _MAX_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
        missing = limit - left if granted else 1 - left
        return Allowance(limit=limit, remaining=math.floor(left), granted=granted, reset_seconds=missing / per_second)


class KeyUses:
    """Which keys were used since the last look; requests only remember, for a write to each would be one too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: set[str] = set()

    def note(self, key_id: str) -> None:
        """The key was used."""
        with self._lock:
            self._used.add(key_id)

    def write(self, database: Database, *, now: float) -> None:
        """What was noted is in the database, to the minute.

        Raises:
            StoreError: it is not, and is forgotten.
        """
        with self._lock:
            used, self._used = self._used, set()
        if used:
            with database.write() as tx:
                for key_id in sorted(used):
                    keys.touch(tx, key_id, now=now)
