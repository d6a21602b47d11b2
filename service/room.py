"""How much disk has to stay free: what brings more is refused before a byte of it is written."""

from starlette.requests import Request

from service.settings import MIN_FREE_BYTES, GatewaySettings
from service.store.artifacts import Artifacts
from service.store.errors import StorageFull


def is_short(artifacts: Artifacts, settings: GatewaySettings) -> bool:
    """Whether less is free than has to be."""
    return artifacts.free_bytes() < settings.min_free_bytes


def require_room(artifacts: Artifacts, settings: GatewaySettings, *, num_bytes: int = 0) -> None:
    """As much as has to stay free will be, after `num_bytes` more.

    Raises:
        StorageFull: it will not.
    """
    free, needed = artifacts.free_bytes(), settings.min_free_bytes
    if free - num_bytes < needed:
        more = f" after the {num_bytes:,} of this request" if num_bytes else ""
        found = f"The disk of the artifacts has {free:,} bytes free, and {needed:,} have to stay free{more}"
        raise StorageFull(f"{found}; free some, for example with `infonce gc`, or set {MIN_FREE_BYTES}")


def declared_bytes(request: Request, *, limit: int) -> int:
    """How long the body is said to be; 0 where it does not say, or says more than its limit, which refuses it."""
    text = request.headers.get("content-length", "")
    declared = int(text[:18]) if text.isascii() and text.isdecimal() else 0
    return declared if declared <= limit else 0
