"""Tells webhook endpoints of events: signed by Standard Webhooks, and tried again from the database for about a day.

Every gateway runs the loop. The rows are claimed one by one, so that any number of gateways may.
"""

import asyncio
import json
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from service.errors import ServiceError
from service.store import deliveries, webhooks
from service.store.database import Database, now_of
from service.store.errors import StoreError
from service.store.signals import DeliveryRecord, EndpointRecord
from service.webhook_targets import Resolve, checked_addresses, host_of, parse_target, resolve_name

if TYPE_CHECKING:
    from httpx2 import URL, AsyncClient, Response

TIMEOUT_SECONDS: Final = 10.0
"""From the look-up of the name to the answer; a receiver that has more to do answers first and works then."""

MAX_ATTEMPTS: Final = 12
FIRST_PAUSE_SECONDS: Final = 5.0
PAUSE_FACTOR: Final = 3.0
LONGEST_PAUSE_SECONDS: Final = 6 * 3600.0
"""With these four the last try begins 22.6 hours after the first, give or take a fifth."""

MAX_DETAIL_CHARACTERS: Final = 500
_MAX_DETAIL_BYTES = 1_024
_DETAIL_SECONDS = 1.0  # the status has come and counts, whatever becomes of the body
_BATCH = 16  # sent at once: with silent receivers, 16 tries take 10 s, well within a claim
_POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of one try."""

    status_code: int | None
    """None where there was no answer."""
    detail: str
    """The beginning of the answer's body, or why there was none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Which hosts may be told, and how their names become addresses."""

    allow_private: bool = False
    resolve: Resolve = resolve_name


def pause_seconds(attempts: int, draw: Callable[[], float] = random.random) -> float | None:
    """How long is waited after so many tries, ± 20 % so that what failed together does not come together; None: ended.

    `draw` gives numbers in [0, 1).
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    pause = min(FIRST_PAUSE_SECONDS * PAUSE_FACTOR ** (attempts - 1), LONGEST_PAUSE_SECONDS)
    return pause * (0.8 + 0.4 * draw())


async def tell(endpoint: EndpointRecord, delivery: DeliveryRecord, *, reach: Reach, now: float) -> Answer:
    """One try was made, redirects not followed; every failure of the receiver is an answer."""
    import httpx2

    content, headers = _signed(endpoint, delivery, now=now)
    # a connection is never used twice: two hosts of one address are told apart by the name in the handshake alone
    limits = httpx2.Limits(max_keepalive_connections=0)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            url = parse_target(endpoint.url, allow_private=reach.allow_private)
            addresses = await checked_addresses(url, resolve=reach.resolve, allow_private=reach.allow_private)
            async with httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS, limits=limits) as client:
                return await _post_to_first(client, url, addresses=addresses, content=content, headers=headers)
    except TimeoutError:
        return Answer(status_code=None, detail=f"no answer within {TIMEOUT_SECONDS:g} s")
    except (ServiceError, httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
        return Answer(status_code=None, detail=_short(str(error) or type(error).__name__))


class WebhookSender:
    """The loop."""

    def __init__(self, database: Database, reach: Reach, *, clock: Callable[[], float] | None = None) -> None:
        """`clock` stands in for that of this machine and of the database."""
        self._database = database
        self._reach = reach
        self._now_of = now_of if clock is None else lambda tx: clock()

    def run(self, stop: threading.Event) -> None:
        """Sends what is due, every second, until `stop` is set, whatever fails."""
        while not stop.is_set():
            tried = 0
            try:
                tried = self.once()
            except StoreError as error:
                log.warning("webhooks wait for the store: %s", error)
            except Exception:  # the process loop's one broad except: what was claimed is due again in a minute
                log.exception("sending webhooks failed and goes on")
            if tried < _BATCH:
                stop.wait(_POLL_SECONDS)

    def once(self) -> int:
        """What was due has been tried, at most 16; returns how many."""
        with self._database.read() as tx:
            if not deliveries.any_due(tx, now=self._now_of(tx)):  # a look takes nobody's turn to write
                return 0
        with self._database.write() as tx:
            now = self._now_of(tx)
            claimed = deliveries.claim_due(tx, now=now, limit=_BATCH)
            endpoints = webhooks.endpoints_by_ids(tx, [delivery.endpoint_id for delivery in claimed])
        asyncio.run(self._tell_all([(endpoints[one.endpoint_id], one) for one in claimed], now=now))
        return len(claimed)

    async def _tell_all(self, pairs: Sequence[tuple[EndpointRecord, DeliveryRecord]], *, now: float) -> None:
        await asyncio.gather(*(self._tell(endpoint, delivery, now=now) for endpoint, delivery in pairs))

    async def _tell(self, endpoint: EndpointRecord, delivery: DeliveryRecord, *, now: float) -> None:
        """One try was made and is in the log."""
        answer = await tell(endpoint, delivery, reach=self._reach, now=now)
        pause = pause_seconds(delivery.attempts)
        with self._database.write() as tx:
            again_at = None if pause is None else self._now_of(tx) + pause
            code, detail = answer.status_code, answer.detail
            deliveries.settle(tx, delivery, status_code=code, detail=detail, again_at=again_at)
        log.info("webhook %s to %s, try %d: %s", delivery.event_id, endpoint.id, delivery.attempts, code or detail)


def _signed(endpoint: EndpointRecord, delivery: DeliveryRecord, *, now: float) -> tuple[bytes, dict[str, str]]:
    """Body and headers; a receiver that knows the old or the new secret finds its signature."""
    from standardwebhooks import Webhook

    body = json.dumps(deliveries.body_of(delivery), separators=(",", ":"))
    at = datetime.fromtimestamp(int(now), tz=UTC)
    signatures = [Webhook(secret).sign(delivery.event_id, at, body) for secret in endpoint.secrets(now)]
    return body.encode(), {
        "content-type": "application/json",
        "user-agent": "infonce-webhooks",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }


async def _post_to_first(
    client: "AsyncClient", url: "URL", *, addresses: Sequence[str], content: bytes, headers: dict[str, str]
) -> Answer:
    """The answer of the first address that takes a connection."""
    import httpx2

    named = {"host": url.netloc.decode("ascii"), **headers}
    for place, address in enumerate(addresses):
        there = url.copy_with(host=address)
        # the certificate is asked for, and checked, by the name
        extensions = {"sni_hostname": host_of(url)}
        request = client.build_request("POST", there, content=content, headers=named, extensions=extensions)
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
        except httpx2.ConnectError:
            if place == len(addresses) - 1:
                raise
            continue
        try:
            return Answer(status_code=response.status_code, detail=await _beginning(response))
        finally:
            await response.aclose()
    raise OSError("the host has no address")


async def _beginning(response: "Response") -> str:
    """The first bytes of the body as text; what comes late, broken or packed is left out."""
    import httpx2

    found = b""
    try:
        async with asyncio.timeout(_DETAIL_SECONDS):
            async for piece in response.aiter_raw():
                found += piece
                if len(found) >= _MAX_DETAIL_BYTES:
                    break
    except (httpx2.HTTPError, TimeoutError):
        log.debug("the body of a webhook's answer broke off")
    return _short(found[:_MAX_DETAIL_BYTES].decode(errors="replace"))


def _short(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_DETAIL_CHARACTERS]
