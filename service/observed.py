"""Every request is counted, timed and logged, under its route's template: paths hold ids without end."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_GONE = 499
"""As nginx has it: the client left before there was an answer."""

_NO_ROUTE = "none"

log = logging.getLogger(__name__)


class Observed:
    """What the application answers, and how long it takes."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request is answered, and was counted when its answer had ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), _GONE

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            self._count(scope, status, seconds=time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, *, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", _NO_ROUTE)
        self._metrics.answered(method, route, status=status, seconds=seconds)
        # what only reads and goes well is said to whoever wants all: a line takes longer than a short embedding
        is_worth_a_line = status >= 400 or (method not in ("GET", "HEAD", "OPTIONS") and not _asks(route))
        if log.isEnabledFor(level := logging.INFO if is_worth_a_line else logging.DEBUG):
            told = {"path": scope["path"][:200], "status": status, "milliseconds": round(1_000 * seconds, 1)}
            log.log(level, "%s %s", method, route, extra=told)


def _asks(route: str) -> bool:
    return route == "/v1/embeddings" or route.endswith("/query")
