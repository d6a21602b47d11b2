"""A body that comes too slowly is given up: whoever sends it holds a connection, memory and perhaps a file."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ServiceError
from service.settings import EdgeLimits


class BodyDeadline:
    """Ends a body with 408 that pauses for too long, or that is too slow on average.

    Only the time counts in which the application waits for bytes: not the time in which it works on those it has.
    """

    def __init__(self, app: ASGIApp, limits: EdgeLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its body with a deadline."""
        if scope["type"] == "http" and _has_body(scope):
            await self._app(scope, _Timed(receive, self._limits).receive, send)
        else:
            await self._app(scope, receive, send)


class _Timed:
    """One body: how long it was waited for and what came."""

    def __init__(self, receive: Receive, limits: EdgeLimits) -> None:
        self._receive = receive
        self._limits = limits
        self._waited_seconds = 0.0
        self._num_bytes = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next message, in time.

        Raises:
            ServiceError: it did not come.
        """
        if self._is_whole:  # what follows is the end of the connection, which may take as long as it wants
            return await self._receive()
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._allowed_seconds()):
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        self._waited_seconds += clock() - began
        self._num_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        return message

    def _allowed_seconds(self) -> float:
        """Until the pause is too long or the average too low, whichever is sooner."""
        earned = self._num_bytes / self._limits.body_bytes_per_second
        on_average = max(self._limits.body_grace_seconds, earned) - self._waited_seconds
        return min(self._limits.body_idle_seconds, on_average)

    def _too_slow(self) -> ServiceError:
        limits = self._limits
        message = (
            f"the body stopped after {self._num_bytes} bytes or came too slowly; send it without pauses of "
            f"{limits.body_idle_seconds:g} s and at {limits.body_bytes_per_second} bytes a second or more"
        )
        return ServiceError("request_timeout", message)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
