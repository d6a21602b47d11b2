"""How often each project asks, counted in the memory of this gateway: two gateways grant twice as much.

A bucket holds a minute's worth of requests and is refilled steadily, so that a burst passes and a flood does not.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from service.store.keys import TOUCH_SECONDS

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
        self._used: dict[str, float] = {}

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

    def first_use(self, key_id: str) -> bool:
        """Whether nobody asked this of the key within a minute: then its use is to be noted."""
        with self._lock:
            now = self._clock()
            if now - self._used.get(key_id, -math.inf) < TOUCH_SECONDS:
                return False
            self._used[key_id] = now
            return True
