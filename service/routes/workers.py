"""Workers: who is alive, and what they do."""

from typing import Annotated

from fastapi import APIRouter, Depends

from service.callers import KEY_FIRST, Who
from service.dependencies import After, Limit, Order, Parts, window
from service.schemas.lists import Listing
from service.schemas.workers import WorkerObject
from service.store import workers
from service.store.database import now_of
from service.store.records import Page

router = APIRouter(prefix="/v1/workers", tags=["workers"], dependencies=KEY_FIRST)


async def oldest_first(after: After = None, limit: Limit = 20, order: Order = "asc") -> Page:
    """The window that was asked for, of a list that begins with what began first."""
    return await window(after, limit, order)


@router.get("")
def list_workers(parts: Parts, who: Who, page: Annotated[Page, Depends(oldest_first)]) -> Listing[WorkerObject]:
    """The workers that have shown a sign of life within a minute, those first that began first."""
    with parts.database.read() as tx:
        alive, more = workers.alive(tx, now=now_of(tx), page=page)
        running = workers.running(tx, [worker.id for worker in alive])
    shown = [WorkerObject.of(worker, running.get(worker.id), project=who.administers) for worker in alive]
    return Listing.of(shown, has_more=more)
