"""How many requests of each class are worked on at once: a flood of one class leaves the others their threads.

Who finds every place taken waits for one in order of arrival, and is refused with 503 when that takes too long or too
many wait already.
Health is asked for by machines that restart what does not answer: it is never refused.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Unavailable, describe
from service.problems import render
from service.settings import EdgeLimits

MAX_WAITING = 256
"""Who waits costs a connection and a few kilobytes; at 10 ms a request the last one waits for 2.5 s in four places."""

SMALL_BODY_BYTES = 64 << 10
"""A body that says it is no longer is received without a place: a sender who takes a minute keeps nobody out, and
1,000 connections cannot bring more than 64 MB. A longer one has a place among the large bodies, which bounds memory."""

_HEALTH = ("/healthz", "/readyz")
_AUDITED = ("/issues", "/stats", "/clean")
_BROUGHT = ("/v1/files", "/v1/models", "/v1/collections/import")


class Work(StrEnum):
    """The classes, each with places of its own."""

    BODY = "large bodies"
    """On their way; whoever sends slowly keeps out nobody but others that send much."""

    SEARCH = "searches"
    UPLOAD = "uploads"
    AUDIT = "audits"
    """Of uploads, and what is made of them; each has a process, or waits for one."""

    DOWNLOAD = "downloads"
    """Of stored bytes; each lasts for as long as its reader takes, and keeps out nobody but others."""
    HOOK = "changes and samples of webhooks"
    """Each may wait for a name to be resolved, or for a receiver of the caller's own to answer."""

    CHANGE = "changes"
    READ = "reads"


def work_of(method: str, path: str) -> Work | None:
    """The class of a request; none of what is always let in."""
    if path in _HEALTH:
        return None
    if path.startswith("/v1/files/") and path.endswith(_AUDITED) and method in ("GET", "HEAD", "POST"):
        return Work.AUDIT
    if method == "GET" and path.endswith("/content"):
        return Work.DOWNLOAD
    if path.startswith("/v1/webhook_endpoints") and method == "POST":
        return Work.HOOK
    if method != "POST":
        return Work.READ if method in ("GET", "HEAD", "OPTIONS") else Work.CHANGE
    if path == "/v1/embeddings" or path.endswith("/query"):
        return Work.SEARCH
    if path in _BROUGHT or path.endswith(("/documents", "/parts", "/complete")):
        return Work.UPLOAD
    return Work.CHANGE


class Places:
    """The places of one class; entered and left by one event loop."""

    def __init__(self, work: Work, num_places: int, *, wait_seconds: float, num_waiting: int = MAX_WAITING) -> None:
        self._work = work
        self._num_places = num_places
        self._free = asyncio.Semaphore(num_places)
        self._wait_seconds = wait_seconds
        self._may_wait = num_waiting

    async def enter(self) -> None:
        """One place is taken, at once or after those who came before.

        Raises:
            Unavailable: all are taken, and too many wait or the wait is too long.
        """
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._may_wait == 0:
            raise self._full("as many wait as may")
        self._may_wait -= 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise self._full(f"none has ended for {self._wait_seconds:g} s") from None
        finally:
            self._may_wait += 1

    def leave(self) -> None:
        """The place is free for the next one."""
        self._free.release()

    def _full(self, reason: str) -> Unavailable:
        message = f"{self._num_places} {self._work.value} are at work and {reason}; try again with fewer at once"
        return Unavailable("overloaded", message)


def is_stream(path: str) -> bool:
    """Whether what is answered there goes on for as long as somebody reads it."""
    return path.endswith("/events/stream")


def give_back(request: Request) -> None:
    """The request has no place any more: from now on it waits for something that takes no thread."""
    request.scope["state"]["give_back"]()


class Admission:
    """Each request takes a place of its class, and gives it back while it waits for a small body."""

    def __init__(self, app: ASGIApp, limits: EdgeLimits) -> None:
        self._app = app
        numbers: Mapping[Work, int] = {
            Work.BODY: limits.num_bodies,
            Work.SEARCH: limits.num_searches,
            Work.UPLOAD: limits.num_uploads,
            Work.AUDIT: limits.num_audits,
            Work.DOWNLOAD: limits.num_downloads,
            Work.HOOK: limits.num_hooks,
            Work.CHANGE: limits.num_changes,
            Work.READ: limits.num_reads,
        }
        self._places = {
            work: Places(work, number, wait_seconds=limits.wait_seconds) for work, number in numbers.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request is answered, by the application or with a 503."""
        work = work_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if work is None:
            await self._app(scope, receive, send)
            return
        coming = None if _is_small(scope) else self._places[Work.BODY]
        visit = _Visit(self._places[work], receive, coming=coming)
        scope.setdefault("state", {})["give_back"] = visit.leave
        try:
            await visit.begin()
        except Unavailable as error:
            answer = render(describe(error), scope.get("state", {}).get("request_id", "req_unknown"))
            await answer(scope, receive, send)
            return
        async with visit.ended():
            if scope["method"] == "GET" and is_stream(scope["path"]):
                await self._app(scope, receive, visit.until_answered(send))
            else:
                await self._app(scope, visit.receive, send)


class _Visit:
    """One request and the place that it has or has not."""

    def __init__(self, places: Places, receive: Receive, *, coming: Places | None) -> None:
        """`coming` are the places for bodies that are received in one; None where it is received without."""
        self._places = places
        self._coming = coming
        self._receive = receive
        self._taken: Places | None = None
        self._is_whole = False

    async def begin(self) -> None:
        """It has a place: of its class, or of the large bodies until its own is here."""
        await self._enter(self._places if self._coming is None else self._coming)

    def until_answered(self, send: Send) -> Send:
        """The same; once the answer has begun the place is another's, for this one may last for days."""

        async def send_on(message: Message) -> None:
            self.leave()
            await send(message)

        return send_on

    @asynccontextmanager
    async def ended(self) -> AsyncIterator[None]:
        """In the end it has none."""
        try:
            yield
        finally:
            self.leave()

    async def receive(self) -> Message:
        """The next message; while a body is on its way, the place of its class is another's."""
        if self._is_whole:
            return await self._receive()
        if self._coming is None:
            self.leave()
        message = await self._receive()
        self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        if self._is_whole and message["type"] == "http.request":
            self.leave()
            await self._enter(self._places)
        return message

    async def _enter(self, places: Places) -> None:
        await places.enter()
        self._taken = places

    def leave(self) -> None:
        """It has no place, and needs no thread."""
        if self._taken is not None:
            self._taken.leave()
            self._taken = None


def _is_small(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "0")
    return "transfer-encoding" not in headers and declared.isdecimal() and int(declared) <= SMALL_BODY_BYTES
