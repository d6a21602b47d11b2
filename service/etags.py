"""Answers that a caller has already are not sent again: every JSON answer to a GET has an ETag, made of its bytes."""

import hashlib
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NUM_BYTES = 16
_JSON = "application/json"


class Etags:
    """A 200 that comes in one piece gets a strong ETag; where the caller named it, a 304 goes out instead.

    The work of reading is done all the same: what a job looks like depends on several tables, and the bytes are the one
    thing that cannot be out of date. What is streamed, and files, pass as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request is answered."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match")
        held: Message | None = None

        async def send_on(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _has_tag(message):
                held = message  # until its bytes are here
                return
            if held is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    message = _tagged(start, message, known=known)
                await send(start)
            await send(message)

        await self._app(scope, receive, send_on)


def tag_of(content: bytes) -> str:
    """The strong ETag of these bytes."""
    return f'"{hashlib.blake2b(content, digest_size=_NUM_BYTES).hexdigest()}"'


def not_modified(request: Request, headers: Mapping[str, str]) -> Response | None:
    """The 304 with these headers, if the caller has named the `etag` among them."""
    known = request.headers.get("if-none-match")
    if known is None or not _names(known, headers["etag"]):
        return None
    return Response(status_code=304, headers=headers)


def _has_tag(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return start["status"] == 200 and headers.get("content-type") == _JSON and "etag" not in headers


def _tagged(start: Message, body: Message, *, known: str | None) -> Message:
    """The body that belongs behind `start`, which has the tag and maybe another status from now on."""
    tag = tag_of(body.get("body", b""))
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["etag"] = tag
    headers.setdefault("cache-control", "no-cache")  # a cache may keep it, and asks before it is used
    if known is not None and _names(known, tag):
        start["status"] = 304
        del headers["content-length"]
        del headers["content-type"]
        body = {**body, "body": b""}
    start["headers"] = headers.raw
    return body


def _names(known: str, tag: str) -> bool:
    """Whether If-None-Match names the tag; `W/` makes no difference there (RFC 9110, 13.1.2)."""
    return known.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in known.split(",")}
