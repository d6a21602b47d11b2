"""Who asks, and may they: a key is verified, its scope is looked up here for every route, its project is counted."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from service.dependencies import Parts, Wiring
from service.errors import NotAuthenticated, ServiceError, Unavailable
from service.problems import add_headers
from service.store import keys, projects
from service.store.records import DEFAULT_PROJECT, ProjectRecord, Scope

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """On whose behalf a request comes."""

    project: str
    scopes: tuple[Scope, ...] = (Scope.ADMIN,)
    key_id: str | None = None
    """None where no key is needed."""

    @property
    def administers(self) -> str | None:
        """Whose keys and limits it may see and change: of all projects (None) or of its own."""
        return None if self.project == DEFAULT_PROJECT else self.project


def caller(request: Request, parts: Parts) -> Caller:
    """The caller, who may do what is asked for.

    While no key was ever made and only this machine can connect, that is an administrator of the default project.

    Raises:
        NotAuthenticated: a key is needed and there is none that counts.
        ServiceError: the key has not the scope (`insufficient_scope`).
        Unavailable: its project has asked too often (`rate_limited`).
    """
    found, limit = _known(request, parts)
    needed = scope_of(request.method, request.scope["route"].path)
    if found.key_id is not None:
        parts.uses.note(found.key_id)
    if limit is not None:
        _count(request, parts, project=found.project, limit=limit)
    require_scope(found, needed)
    return found


def require_scope(found: Caller, needed: Scope) -> None:
    """Raise `ServiceError` (`insufficient_scope`) unless the caller may do what takes that scope."""
    if needed not in found.scopes and Scope.ADMIN not in found.scopes:
        has = ", ".join(found.scopes) or "none"
        raise ServiceError("insufficient_scope", f"This needs a key of scope {needed}; this one has {has}")


async def project(found: Annotated[Caller, Depends(caller)]) -> str:
    """The caller's project."""
    return found.project


Who = Annotated[Caller, Depends(caller)]
Project = Annotated[str, Depends(project)]

KEY_FIRST = [Depends(caller)]
"""Of every router that needs a key: it is asked for before bodies are read and ids are looked at."""


def _known(request: Request, parts: Wiring) -> tuple[Caller, int | None]:
    """The caller, and how many requests a minute its project may send."""
    sent = request.headers.getlist("authorization")
    scheme, _, key = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    with parts.database.read() as tx:
        record = keys.verify(tx, key.strip(), now=parts.clock()) if scheme.lower() == "bearer" else None
        if record is None and parts.settings.loopback and not keys.any_key(tx):
            return Caller(project=DEFAULT_PROJECT), _limit(parts, projects.find(tx, DEFAULT_PROJECT))
        if record is None:
            raise NotAuthenticated
        found = Caller(project=record.project, scopes=record.scopes, key_id=record.id)
        return found, _limit(parts, projects.find(tx, record.project))


def _limit(parts: Wiring, record: ProjectRecord | None) -> int | None:
    own = None if record is None else record.max_requests_per_minute
    return parts.settings.quotas.max_requests_per_minute if own is None else own


def _count(request: Request, parts: Wiring, *, project: str, limit: int) -> None:
    left = parts.rates.ask(project, limit)
    add_headers(request, left.headers)
    if not left.granted:
        seconds = max(1, round(left.reset_seconds + 0.5))
        message = f"The project may send {limit} requests a minute and has; come again in {seconds} s"
        raise Unavailable("rate_limited", message, retry_after_seconds=seconds)
