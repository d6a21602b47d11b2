"""All connections of a server: how many there may be, and which one gives way when another comes."""

from collections import OrderedDict
from typing import Protocol

from service.settings import EdgeLimits

PATIENCE_SECONDS = 1.0
"""An honest client sends its first header at once; on a slow line within one round trip."""
_MAX_LINGERING = 128


class Connection(Protocol):
    """What is needed of `service.guard.GuardedProtocol`."""

    def close_gently(self) -> None:
        """It is closed; what it has to say is still said."""


class Lobby:
    """All connections of a server, and which of them have no request at work."""

    def __init__(self, limits: EdgeLimits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._kept: OrderedDict[Connection, None] = OrderedDict()
        self._fresh: OrderedDict[Connection, float] = OrderedDict()
        self._lingering: set[Connection] = set()

    def admit(self, new: Connection, *, now: float) -> bool:
        """Whether there is room; if need be another connection is closed to make it.

        That is the one which was kept alive for longest, or else one that has sent no header for a while: clients know
        that the former happens, and with the latter slow ones keep nobody else out.
        """
        if len(self._open) >= self.limits.max_connections:
            spare = next(iter(self._kept), None) or self._stale(now)
            if spare is None:
                return False
            spare.close_gently()
        self._open.add(new)
        self._fresh[new] = now
        return True

    def note(self, one: Connection, *, is_idle: bool) -> None:
        """It has a request at work, or waits for its next one."""
        if not is_idle:
            self._fresh.pop(one, None)
            self._kept.pop(one, None)
        elif one in self._open and one not in self._fresh:
            self._kept.setdefault(one)

    def may_linger(self, one: Connection) -> bool:
        """It counts no longer, and may stay a moment if few others do."""
        self.forget(one)
        if len(self._lingering) < _MAX_LINGERING:
            self._lingering.add(one)
            return True
        return False

    def forget(self, one: Connection) -> None:
        """It is gone, or about to be."""
        self._open.discard(one)
        self._fresh.pop(one, None)
        self._kept.pop(one, None)
        self._lingering.discard(one)

    def _stale(self, now: float) -> Connection | None:
        """The connection that has been without a first header for longest, if that is long."""
        oldest = next(iter(self._fresh), None)
        return oldest if oldest is not None and now - self._fresh[oldest] >= PATIENCE_SECONDS else None
