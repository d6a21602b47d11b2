"""Writes every error as one body, RFC 9457 and OpenAI's shape at once.

Also gives each request its id, which every answer carries.
"""

import itertools
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infonce.errors import InfonceError
from infonce.logs import at_work_on
from service.errors import OF_STATUS, PROBLEMS, Place, Problem, ServiceError, describe
from service.store.errors import StoreError

log = logging.getLogger(__name__)
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


class RequestIds:
    """Every request has an id, the caller's own where it is sane, and every answer says it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._prefix = f"req_{secrets.token_hex(8)}"  # of this process; an id is no secret
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with `state.request_id` set."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else f"{self._prefix}{next(self._numbers):08x}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
                headers.update(scope["state"].get("headers", {}))
            await send(message)

        with at_work_on(request=request_id):
            await self._app(scope, receive, send_with_id)


def add_headers(request: Request, headers: Mapping[str, str]) -> None:
    """The answer to this request will have these headers, whatever it is."""
    request.scope["state"].setdefault("headers", {}).update(headers)


def render(problem: Problem, request_id: str) -> JSONResponse:
    """The answer that tells `problem`."""
    kind = PROBLEMS[problem.code]
    body: dict[str, Any] = {
        "type": f"urn:infonce:error:{problem.code}",
        "title": kind.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
        "errors": [
            {"line": place.line, "pointer": place.pointer, "code": place.code, "detail": place.detail}
            for place in problem.places
        ],
        "further_errors": problem.num_further,
        "error": {
            "message": problem.detail,
            "type": _openai_type(problem.status),
            "param": problem.param,
            "code": problem.code,
        },
    }
    headers = {**problem.headers, "x-request-id": request_id, "x-content-type-options": "nosniff"}
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Every error of `app`, the framework's own included, is answered with the one body."""
    app.add_middleware(RequestIds)
    for kind in (ServiceError, InfonceError, StoreError, ClientDisconnect):
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _parameters)
    for slipped in (OverflowError, UnicodeError, RecursionError):
        app.add_exception_handler(slipped, _slipped)
    app.add_exception_handler(Exception, _unknown)


async def _known(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ClientDisconnect):  # nobody reads this answer; it keeps the log free of a false alarm
        return render(Problem(code="incomplete_body", detail="The body ended early."), _id(request))
    problem = describe(error)
    if problem.status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, problem.detail, exc_info=error)
    return render(problem, _id(request))


async def _framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = OF_STATUS.get(error.status_code, "bad_request" if error.status_code < 500 else "internal_error")
    detail = {
        "not_found": f"{request.method} {request.url.path[:200]} is not a route of this API; /docs lists them.",
        "method_not_allowed": f"{request.method} is not allowed here; see the Allow header or /docs.",
    }.get(code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers = {"allow": ", ".join(_allowed(request))}
    return render(Problem(code=code, detail=detail, headers=headers, status_override=error.status_code), _id(request))


def _allowed(request: Request) -> list[str]:
    """What the path can be asked for: the framework names the methods of one of its routes, and a path may have two.

    Where the path is a route's as it stands, that a name in another's place could read the same adds nothing.
    """
    place = {name: request.scope[name] for name in ("type", "path", "root_path")}
    routes = request.app.router.routes
    routes = [route for route in routes if getattr(route, "path", None) == place["path"]] or routes
    return [
        method
        for method in _METHODS
        if any(route.matches({**place, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _parameters(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    places = [_place(item["loc"], item["msg"]) for item in error.errors()]
    param = str(error.errors()[0]["loc"][-1])
    problem = Problem(code="invalid_value", detail=places[0].detail, param=param, places=tuple(places))
    return render(problem, _id(request))


def _place(loc: Sequence[int | str], message: str) -> Place:
    return Place(code="invalid_value", detail=f"{loc[0]} parameter {loc[-1]}: {message}")


async def _slipped(request: Request, error: Exception) -> JSONResponse:
    """The second net: a value that a check of ours let through, and that something below could not hold."""
    log.error("%s %s: no check refused a value", request.method, request.url.path, exc_info=error)
    detail = "A number or a text of the request is out of the range that can be worked with; make it smaller or simpler"
    return render(Problem(code="invalid_value", detail=detail), _id(request))


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    told = {"request": _id(request)}  # outside of all that knows the request
    log.error("%s %s failed (%s)", request.method, request.url.path, _id(request), exc_info=error, extra=told)
    return render(describe(error), _id(request))


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", "req_unknown"))


def _openai_type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
