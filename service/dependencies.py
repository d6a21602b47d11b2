"""What routes ask for: the wired parts, ids that can be ids, and windows of lists; callers are `callers.py`'s.

None of them waits for anything, so they are coroutines: a function would cost each request a trip to a thread.
"""

import difflib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Query
from starlette.requests import Request

from service.audits import Audits
from service.broker import BrokerHealth
from service.embedder import Embedder
from service.errors import InvalidInput, Place, ServiceError
from service.feeds import Feeds
from service.given_metadata import of_query
from service.importing import ModelImports
from service.index_checks import IndexChecks
from service.known_callers import KnownCallers
from service.metrics import FigureReader, Metrics
from service.model_lookup import ModelLookup
from service.mover import Mover
from service.promotion import Promotion
from service.rates import KeyUses, Rates
from service.schemas.collections import COLLECTION_NAME
from service.search import Search
from service.settings import GatewaySettings
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.errors import NotFound
from service.store.records import Page
from service.store.sweep import Sweep
from service.webhook_sender import Reach, WebhookSender

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

MAX_PAGE = 1_000
_SUFFIX = "[0-9a-hjkmnp-tv-z]{26}"  # Crockford's base 32, as `new_id` writes it
_COLLECTION_ID = re.compile(r"col-[0-9a-z]{26}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wiring:
    """The parts of a running gateway, built once by `create_app`."""

    settings: GatewaySettings
    database: Database
    artifacts: Artifacts
    lookup: ModelLookup
    embedder: Embedder
    search: Search
    checks: IndexChecks
    promotion: Promotion
    audits: Audits
    imports: ModelImports
    metrics: Metrics
    figures: FigureReader
    tracers: "TracerProvider | None"
    """What makes spans, where they are wanted."""
    sweep: Sweep
    broker: BrokerHealth
    feeds: Feeds
    callers: KnownCallers
    rates: Rates
    uses: KeyUses
    reach: Reach
    sender: WebhookSender
    mover: Mover
    clock: Callable[[], float]


async def wiring(request: Request) -> Wiring:
    """The parts that this application was built with."""
    found = request.app.state.wiring
    assert isinstance(found, Wiring)
    return found


Parts = Annotated[Wiring, Depends(wiring)]


def object_id(prefix: str, kind: str) -> Callable[[str], Awaitable[str]]:
    """A dependency that gives the path's `id` if it can be one of that kind; else it is not found, as a random one."""
    pattern = re.compile(f"{prefix}-{_SUFFIX}")

    async def check(id: str) -> str:
        if not pattern.fullmatch(id):
            raise NotFound(kind, id[:80])
        return id

    return check


async def collection_path(c: str) -> str:
    """The path's `c` if it can be a name or an id; else it is not found, as a random one."""
    if not COLLECTION_NAME.fullmatch(c) and not _COLLECTION_ID.fullmatch(c):
        raise NotFound("collection", c[:80])
    return c


CollectionPath = Annotated[str, Depends(collection_path)]


def check_idempotency_key(request: Request) -> None:
    """Raise `ServiceError` if the request bears a key that is none, whether or not its route needs one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        message = f"Idempotency-Key has {len(key)} characters; it must be 1 to 255 visible ASCII characters"
        raise ServiceError("invalid_value", message, param="Idempotency-Key")


def known_parameters(*known: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses a query parameter of another name, where nothing may be left out in silence."""

    async def check(request: Request) -> None:
        for name in request.query_params:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                detail = f"query parameter {name[:100]} is not known; {hint}"
                raise InvalidInput([Place(code="unknown_field", detail=detail)], param=name[:100])

    return check


After = Annotated[str | None, Query(max_length=200, description="the id after which the window begins")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Order = Annotated[str, Query(pattern="^(asc|desc)$", description="by creation")]


async def window(after: After = None, limit: Limit = 20, order: Order = "desc") -> Page:
    """The window of a list that was asked for."""
    if after is not None and not re.fullmatch(r"[A-Za-z0-9._:/-]+", after):
        raise ServiceError("bad_cursor", "after is not the id of an element of this list", param="after")
    return Page(after=after, limit=limit, descending=order == "desc")


Window = Annotated[Page, Depends(window)]


async def labelled_window(request: Request, page: Window) -> Page:
    """The window that was asked for, of the elements that have what `metadata[key]=value` says, as often as it stands.

    Raises:
        InvalidInput: nothing can have such metadata.
    """
    return replace(page, metadata=of_query(request.query_params.multi_items()))


LabelledWindow = Annotated[Page, Depends(labelled_window)]
