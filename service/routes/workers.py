"""Workers: who is alive, and what they do."""

from fastapi import APIRouter

from service.callers import KEY_FIRST, Who
from service.dependencies import Parts
from service.schemas.lists import Listing
from service.schemas.workers import WorkerObject
from service.store import workers
from service.store.database import now_of

router = APIRouter(prefix="/v1/workers", tags=["workers"], dependencies=KEY_FIRST)


@router.get("")
def list_workers(parts: Parts, who: Who) -> Listing[WorkerObject]:
    """The workers that have shown a sign of life within a minute, those first that began first."""
    with parts.database.read() as tx:
        alive = workers.alive(tx, now=now_of(tx))
        running = workers.running(tx, [worker.id for worker in alive])
    shown = [WorkerObject.of(worker, running.get(worker.id), project=who.administers) for worker in alive]
    return Listing.of(shown, has_more=False)
