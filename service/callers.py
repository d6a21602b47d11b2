"""Who asks, and may they: a key is verified, its scope is looked up here for every route, its project is counted."""

import logging
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.dependencies import Parts, Wiring, check_idempotency_key
from service.errors import NotAuthenticated, ServiceError, Unavailable
from service.known_callers import Caller
from service.problems import add_headers
from service.store.errors import StoreError
from service.store.records import Scope

log = logging.getLogger(__name__)

_ADMINISTERED: Final = ("/v1/api_keys", "/v1/projects", "/v1/webhook_endpoints")  # a URL is often a secret itself
_ASKED_BY_POST: Final = (
    "/v1/embeddings",
    "/v1/collections/{c}/query",
    "/v1/collections/{c}/count",
    "/v1/collections/{c}/compare",
    "/v1/collections/{c}/duplicates",
)
_CHANGED: Final = {
    "/v1/files": Scope.TRAIN,
    "/v1/uploads": Scope.TRAIN,
    "/v1/models": Scope.TRAIN,
    "/v1/model_exports": Scope.TRAIN,
    "/v1/fine_tuning": Scope.TRAIN,
    "/v1/jobs": Scope.TRAIN,
    "/v1/mining": Scope.TRAIN,
    "/v1/evaluations": Scope.TRAIN,
    "/v1/collections": Scope.INDEX,
}


def scope_of(method: str, route: str) -> Scope:
    """What a key needs for the method on a route, such as `/v1/files/{id}`; admin for what stands nowhere here."""
    if route.startswith(_ADMINISTERED):
        return Scope.ADMIN
    if method in ("GET", "HEAD") or route in _ASKED_BY_POST:
        return Scope.READ
    return next((scope for prefix, scope in _CHANGED.items() if route.startswith(prefix)), Scope.ADMIN)


async def caller(request: Request, parts: Parts) -> Caller:
    """The caller, who may do what is asked for.

    While no key was ever made and only this machine can connect, that is an administrator of the default project.

    Raises:
        NotAuthenticated: a key is needed and there is none that counts.
        ServiceError: the key has not the scope (`insufficient_scope`), or the Idempotency-Key is none.
        Unavailable: its project has asked too often (`rate_limited`).
    """
    key = _key(request)
    known = parts.callers.at_once(key)
    if known is None:
        known = await run_in_threadpool(parts.callers.read, key)
    found = known.caller
    if found.key_id is not None:
        parts.uses.note(found.key_id)
    if known.limit is not None:
        await run_in_threadpool(_count, request, parts, project=found.project, limit=known.limit)
    require_scope(found, scope_of(request.method, request.scope["route"].path))
    if request.method == "POST":
        check_idempotency_key(request)
    return found


def require_scope(found: Caller, needed: Scope) -> None:
    """Raise `ServiceError` (`insufficient_scope`) unless the caller may do what takes that scope."""
    if needed not in found.scopes and Scope.ADMIN not in found.scopes:
        has = ", ".join(found.scopes) or "none"
        raise ServiceError("insufficient_scope", f"This needs a key of scope {needed}; this one has {has}")


async def project(found: Annotated[Caller, Depends(caller)]) -> str:
    """The caller's project."""
    return found.project


async def still_good(request: Request, parts: Parts) -> Callable[[], bool]:
    """What says later whether the request's key still counts; it reads the database."""
    key = _key(request)

    def ask() -> bool:
        try:
            parts.callers.read(key)
        except NotAuthenticated:
            return False
        except StoreError as error:
            log.warning("a reader's key cannot be looked at just now: %s", error)
        return True

    return ask


Who = Annotated[Caller, Depends(caller)]
StillGood = Annotated[Callable[[], bool], Depends(still_good)]
Project = Annotated[str, Depends(project)]

KEY_FIRST = [Depends(caller)]
"""Of every router that needs a key: it is asked for before bodies are read and ids are looked at."""


def _key(request: Request) -> str:
    """The key that the request bears; empty where it has none, or several."""
    sent = request.headers.getlist("authorization")
    scheme, _, key = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    return key.strip() if scheme.lower() == "bearer" else ""


def _count(request: Request, parts: Wiring, *, project: str, limit: int) -> None:
    left = parts.rates.ask(project, limit)
    add_headers(request, left.headers)
    if not left.granted:
        seconds = max(1, round(left.reset_seconds + 0.5))
        message = f"The project may send {limit} requests a minute and has; come again in {seconds} s"
        raise Unavailable("rate_limited", message, retry_after_seconds=seconds)
