"""What a connection may do before and after its requests: how long it takes, how large its header is.

uvicorn bounds the pause between two requests and nothing else: a client that sends its header byte by byte, or never
takes its answer, would keep its connection for ever. Bodies are `slow_bodies.py`'s, work is `admission.py`'s.
"""

import asyncio
import secrets
import socket
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from service.admission import is_stream
from service.errors import Problem
from service.lobby import Lobby
from service.problems import render
from service.settings import EdgeLimits

MAX_HEADER_BYTES = 32 << 10
"""Of request line and fields together; browsers and proxies stay below 8 KB."""
MAX_HEADERS = 100
"""As Apache has it; behind two proxies a browser's request has about 30."""
MAX_TARGET_BYTES = 8 << 10
"""Path and query; Apache and nginx take about as much."""

STREAM_BUFFER_BYTES = 16 << 10
"""Of events on their way to one reader, here and in the kernel; a job tells about 1 KB a second."""

LINGER_SECONDS = 2.0
"""How long what a refused client still sends is thrown away: closing at once would reset the connection, and on many
systems the client would lose the answer that says why."""

LINGER_BYTES = 64 << 20
"""And how much of it: twice the largest body that has a limit. Who sends more is cut off."""


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, with deadlines and limits on everything that comes before a request is read."""

    def __init__(
        self,
        *,
        lobby: Lobby,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: _Parser = _Parser(h11.SERVER, MAX_HEADER_BYTES)
        self._lobby = lobby
        self._deadline: asyncio.TimerHandle | None = None
        self._reader_watch: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self._is_ending = False
        self._thrown_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """It is admitted with a deadline for its first header, or refused."""
        self._wire = transport
        super().connection_made(cast(asyncio.Transport, _GentleTransport(transport, self)))
        if self._lobby.admit(self, now=self.loop.time()):
            self._set_deadline(self._lobby.limits.header_seconds)
        else:
            message = f"{self._lobby.limits.max_connections} connections are at work; try again, and reuse connections"
            self._refuse(Problem(code="overloaded", detail=message, headers={"retry-after": "1"}))

    def data_received(self, data: bytes) -> None:
        """What belongs to a request is read; a header that begins must end in time."""
        if self._is_ending:
            self._throw_away(len(data))
            return
        if not self._is_at_work and self._deadline is None:
            self._set_deadline(self._lobby.limits.header_seconds)
        super().data_received(data)
        self._note()
        if self._is_streaming:
            self._keep_little()

    def _throw_away(self, num_bytes: int) -> None:
        self._thrown_bytes += num_bytes
        if self._thrown_bytes > LINGER_BYTES and self._wire is not None:
            self._wire.abort()

    def on_response_complete(self) -> None:
        """The next request, or the rest of a body that nobody wanted, is waited for."""
        super().on_response_complete()
        self._note()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP, or is too much of it, is refused with a reason."""
        self._refuse(Problem(code="bad_request", detail=f"The request cannot be read: {self.conn.reason}"))

    def shutdown(self) -> None:
        """The server ends: a request at work is finished, all else closed."""
        if self._is_ending or self._is_streaming:  # a stream has no end to wait for; its reader comes again with an id
            self.transport.abort()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing of it is left."""
        self._is_ending = True
        self._lobby.forget(self)
        for timer in (self._deadline, self._reader_watch):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """An answer waits for its reader, who has to take some of it now and then."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """The reader has taken it."""
        super().resume_writing()
        if self._reader_watch is not None and not self._is_ending:
            self._reader_watch.cancel()
            self._reader_watch = None

    def close_gently(self) -> None:
        """It is closed; what is still to be read by the client is given time, and what it still sends thrown away."""
        if self._is_ending or self._wire is None:
            return
        self._end(lingers=self.conn.their_state is h11.SEND_BODY)

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is read or answered."""
        return self._is_ending

    @property
    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_streaming(self) -> bool:
        return self._is_at_work and self.scope is not None and is_stream(self.scope["path"])

    def _keep_little(self) -> None:
        """Little waits for a reader that takes nothing, here and in the kernel, which would keep 4 MB."""
        assert self._wire is not None
        self._wire.set_write_buffer_limits(high=STREAM_BUFFER_BYTES)
        with suppress(OSError):  # the client may be gone already
            self._wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)

    def _note(self) -> None:
        if self._is_ending:
            return
        if self._is_at_work and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._lobby.note(self, is_idle=not self._is_at_work)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """The header is not here in time: 408 where it began, silence where nothing came."""
        self._deadline = None
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            message = f"The header did not come within {self._lobby.limits.header_seconds:g} s; send it at once"
            self._refuse(Problem(code="request_timeout", detail=message))
        else:
            self.close_gently()

    def _refuse(self, problem: Problem) -> None:
        """The problem is answered on the bare connection, unless another answer has begun; then it is closed."""
        has_begun = self._is_at_work and self.cycle.response_started
        if self._is_at_work:  # the application is told that the client is gone, and its answer goes nowhere
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not has_begun and self._wire is not None and not self._is_ending:
            self._wire.write(_bare(problem))
        self._end(lingers=True)

    def _end(self, *, lingers: bool) -> None:
        assert self._wire is not None
        self._is_ending = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._unset_keepalive_if_required()
        if lingers and self._lobby.may_linger(self) and not self._wire.is_closing():
            with suppress(OSError):  # the client may be gone already
                self._wire.write_eof()
            self._wire.resume_reading()
            self._deadline = self.loop.call_later(LINGER_SECONDS, self._wire.abort)
            return
        self._lobby.forget(self)
        self._wire.close()
        self._watch_reader()  # what is closed with something unread stays open until it is read

    def _watch_reader(self) -> None:
        """The connection is cut if nothing more of its answer is taken until the next look."""
        assert self._wire is not None
        waiting = self._wire.get_write_buffer_size()
        if waiting and self._reader_watch is None:
            self._reader_watch = self.loop.call_later(self._lobby.limits.unread_seconds, self._look, waiting)

    def _look(self, waiting_before: int) -> None:
        assert self._wire is not None
        self._reader_watch = None
        if self._wire.get_write_buffer_size() >= waiting_before:
            self._wire.abort()
        else:
            self._watch_reader()


class _Parser(h11.Connection):
    """h11's reader of requests, which also counts what h11 takes in any number, and keeps the reason of a refusal."""

    reason = ""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event.

        Raises:
            RemoteProtocolError: it is not HTTP, or more than is allowed.
        """
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check(event)
        except h11.RemoteProtocolError as error:
            self.reason = str(error).partition(": bytearray")[0]  # h11 repeats the line that it cannot read
            raise
        return event


class _GentleTransport:
    """The connection as uvicorn sees it: closing lets a client that still sends read its answer first."""

    def __init__(self, wire: asyncio.Transport, protocol: GuardedProtocol) -> None:
        self._wire = wire
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def close(self) -> None:
        """It is closed, soon."""
        self._protocol.close_gently()

    def is_closing(self) -> bool:
        """Whether it is, or will be."""
        return self._protocol.is_ending or self._wire.is_closing()


def guarded(limits: EdgeLimits) -> type[asyncio.Protocol]:
    """What uvicorn makes for each connection of one server."""
    return cast(type[asyncio.Protocol], partial(GuardedProtocol, lobby=Lobby(limits)))


def _check(request: h11.Request) -> None:
    """Raise if the header is larger than any honest one: h11 only bounds what is incomplete, and counts nothing."""
    size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
    for what, number, limit in (
        ("the path and query have {} bytes", len(request.target), MAX_TARGET_BYTES),
        ("there are {} header fields", len(request.headers), MAX_HEADERS),
        ("the header has {} bytes", size, MAX_HEADER_BYTES),
    ):
        if number > limit:
            raise h11.RemoteProtocolError(f"{what.format(number)}, at most {limit} are taken; send less")
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("it says another version of HTTP; send HTTP/1.1")
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
        # a proxy in front may believe the one and h11 believes the other: the way in for smuggled requests
        raise h11.RemoteProtocolError("it has both Content-Length and Transfer-Encoding; send one of them")


def _bare(problem: Problem) -> bytes:
    """The answer as it goes over the wire when no request was read."""
    answer = render(problem, f"req_{secrets.token_hex(12)}")
    answer.headers["connection"] = "close"
    fields = b"".join(b"%b: %b\r\n" % field for field in answer.raw_headers)
    status = f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}\r\n"
    return status.encode("ascii") + fields + b"\r\n" + bytes(answer.body)
