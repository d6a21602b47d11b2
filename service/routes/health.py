"""Whether the gateway lives and whether it can work; asked by machines, so no key is needed."""

import os

from fastapi import APIRouter

from service.dependencies import Parts
from service.errors import Unavailable
from service.room import is_short
from service.schemas.health import Health, Readiness
from service.store import keys

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def live() -> Health:
    """The process lives."""
    return Health()


@router.get("/readyz")
def ready(parts: Parts) -> Readiness:
    """Database and artifact folder work; without a broker jobs are taken and wait, without room they are refused."""
    with parts.database.read() as tx:
        keys.any_key(tx)
    if not os.access(parts.artifacts.root, os.W_OK):
        raise Unavailable("store_unavailable", "The artifact folder is not writable", retry_after_seconds=5)
    away = {"broker": not parts.broker.up(), "storage": is_short(parts.artifacts, parts.settings)}
    return Readiness(degraded=[name for name, is_away in away.items() if is_away])
