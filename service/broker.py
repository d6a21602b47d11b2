"""Whether the broker answers: asked in a thread of its own, so that no request ever waits for it."""

import threading
import time
from collections.abc import Callable

FRESH_SECONDS = 5.0
FIRST_ANSWER_SECONDS = 1.5


class BrokerHealth:
    """Remembers the last answer of `ping` and asks again when it is old."""

    def __init__(self, ping: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._ping = ping
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = False
        self._answered = threading.Event()
        self._answer = False
        self._asked_at = float("-inf")

    def up(self) -> bool:
        """The last answer, at most some seconds old; only the very first one is waited for, and not long."""
        with self._lock:
            if not self._asking and self._clock() - self._asked_at >= FRESH_SECONDS:
                self._asking, self._asked_at = True, self._clock()
                threading.Thread(target=self._ask, name="broker-health", daemon=True).start()
        self._answered.wait(FIRST_ANSWER_SECONDS)
        return self._answer

    def _ask(self) -> None:
        answer = False
        try:
            answer = self._ping()
        finally:
            with self._lock:
                self._answer, self._asking = answer, False
            self._answered.set()
