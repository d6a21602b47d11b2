"""How often each project asks and which keys do, kept in the memory of this gateway: two gateways grant twice as much.

In any 60 seconds no more requests pass than a minute has; a burst may take them all.
"""

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.store import keys
from service.store.database import Database

if TYPE_CHECKING:
    from limits.strategies import MovingWindowRateLimiter

_WINDOW_SECONDS: Final = 60.0
_JITTER_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What is left of a minute's requests after one was asked for."""

    limit: int
    remaining: int
    granted: bool
    reset_seconds: float
    """Until this request counts no more, or, where it was refused, until the next one would be granted."""

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

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the library's own are taken away from under those who hold them
        self._limiter: MovingWindowRateLimiter | None = None
        self._asked_at = 0.0

    def ask(self, project: str, limit: int) -> Allowance:
        """One request of `limit` a minute was taken, or refused."""
        from limits import RateLimitItemPerMinute  # a tenth of a second that no gateway without limits waits for

        item = RateLimitItemPerMinute(limit)
        with self._lock:
            now = time.time()  # the library's clock: set back, it would shut everybody out until it has caught up
            if self._limiter is None or now < self._asked_at - _JITTER_SECONDS:
                self._limiter = _limiter()
            limiter, self._asked_at = self._limiter, now
            granted = limiter.hit(item, project)
            window = limiter.get_window_stats(item, project)
        reset = _WINDOW_SECONDS if granted else max(0.0, window.reset_time - now)
        return Allowance(limit=limit, remaining=window.remaining, granted=granted, reset_seconds=reset)


def _limiter() -> "MovingWindowRateLimiter":
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    return MovingWindowRateLimiter(MemoryStorage())


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
