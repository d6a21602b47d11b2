"""Puts the gateway together: which part knows which, and nothing else."""

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from infonce.traces import tracer_provider
from service import problems
from service.admission import Admission
from service.audits import Audits
from service.broker import BrokerHealth
from service.dependencies import Wiring
from service.embedder import Embedder, encoder_loader
from service.errors import StartRefused
from service.etags import Etags
from service.feeds import Feeds
from service.importing import ModelImports
from service.index_checks import IndexChecks
from service.known_callers import KnownCallers
from service.live_indexes import LiveIndexes
from service.loaded_models import LoadedModels, Loader
from service.metrics import FigureReader, Metrics
from service.model_lookup import ModelLookup
from service.mover import Mover
from service.observed import Observed
from service.promotion import Promotion
from service.rates import KeyUses, Rates
from service.recall import RecallWatch
from service.routes import (
    api_keys,
    audits,
    collection_files,
    collections,
    docs,
    documents,
    embeddings,
    evaluations,
    files,
    health,
    jobs,
    metrics,
    mining,
    model_exports,
    models,
    projects,
    reports,
    rows,
    streams,
    uploads,
    versions,
    webhooks,
    workers,
)
from service.search import Search
from service.settings import GatewaySettings
from service.slow_bodies import BodyDeadline
from service.store import keys
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.expiry import expire
from service.store.queue import Doorbell
from service.store.sweep import Sweep
from service.webhook_sender import Reach, WebhookSender
from service.webhook_targets import Resolve, resolve_name

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

PARTS_EXPIRE_SECONDS = 24 * 3600.0
_LOOPS_END_SECONDS = 5.0
_UNTRACED = ("/healthz", "/readyz", "/metrics")  # asked every few seconds, by machines

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seams:
    """What a test replaces; None is the real thing."""

    ring: Callable[[str, str], None] | None = None
    ping: Callable[[], bool] | None = None
    load: Loader | None = None
    resolve: Resolve = resolve_name
    """From the name of a webhook's host to its addresses."""
    tracers: "TracerProvider | None" = None
    clock: Callable[[], float] = time.time


def create_app(settings: GatewaySettings, seams: Seams = Seams()) -> FastAPI:
    """The gateway, ready to be served; its sweep runs while it is.

    Raises:
        StartRefused: another machine could connect and no key exists.
        StoreError: database or artifact folder cannot be used.
    """
    parts = _wire(settings, seams)
    app = FastAPI(
        title="infonce",
        version="0.1.0",
        description="Fine-tune embedding models with InfoNCE, and serve what they find.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry=_telemetry(parts),
    )
    app.state.wiring = parts
    app.add_middleware(Etags)
    app.add_middleware(Admission, limits=settings.edge)  # the last added is the outermost
    app.add_middleware(BodyDeadline, limits=settings.edge)
    app.add_middleware(Observed, metrics=parts.metrics)
    problems.install(app)
    often = (embeddings, collections)  # first: each request is compared with route after route
    stored, work = (files, rows, audits, uploads), (jobs, streams, reports, mining, evaluations)
    served = (models, model_exports, documents, versions, collection_files)
    told = (webhooks, workers, api_keys, projects, health, metrics, docs)
    for module in (*often, *stored, *work, *served, *told):
        app.router.routes.extend(module.router.routes)  # as they are: to include a router builds each route anew
    app.openapi = lambda: docs.describe_api(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def _telemetry(parts: Wiring) -> TelemetryConfig:
    """FastAPI's own spans where there is a collector for them; all else of it costs each request time."""
    provider = parts.tracers
    off = TelemetryConfig(metrics=False, logs=False, operation_spans=False, auto_configure=False)
    if provider is None:
        return {**off, "tracing": False}
    return {**off, "tracing": True, "tracer_provider": provider, "exclude": lambda scope: scope["path"] in _UNTRACED}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """While the application is served, its loops run in threads."""
    parts: Wiring = app.state.wiring
    anyio.to_thread.current_default_thread_limiter().total_tokens = parts.settings.edge.num_threads
    stop = threading.Event()
    watching = {"moves": parts.mover.run, "checks": parts.checks.run}
    loops = {"sweep": parts.sweep.run, "webhooks": parts.sender.run, **watching}
    threads = [threading.Thread(target=run, args=(stop,), name=name, daemon=True) for name, run in loops.items()]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    parts.sweep.poke()
    end = time.monotonic() + _LOOPS_END_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))  # what hangs on a dead broker or receiver is not waited for
    parts.feeds.close()
    parts.search.close()
    parts.audits.close()
    parts.embedder.close()
    parts.figures.close()
    parts.database.close()
    if parts.tracers is not None:
        parts.tracers.shutdown()


def _wire(settings: GatewaySettings, seams: Seams) -> Wiring:
    artifacts = Artifacts(settings.store.artifacts)
    artifacts.prepare()
    artifacts.sweep_tmp(PARTS_EXPIRE_SECONDS)
    database = Database.open(settings.store.database_url)
    _admit(database, settings, now=seams.clock())
    ring, ping = seams.ring, seams.ping
    if ring is None or ping is None:
        bell = Doorbell(settings.store.require_broker())
        ring, ping = ring or bell.ring, ping or bell.ping
    lookup = ModelLookup(database, artifacts, hub=settings.hub)
    loader = encoder_loader(artifacts.verify, threads=settings.threads, precision=settings.precision)
    loaded = LoadedModels(seams.load or loader, max_bytes=settings.model_bytes)
    counted = Metrics()
    embedder = Embedder(loaded, max_waiting_characters=settings.max_waiting_characters, observe=counted.embedded)
    indexes = LiveIndexes(database, artifacts, max_open=settings.max_open_indexes)
    watch, threads = RecallWatch(counted.recalled), settings.threads
    search = Search(database, indexes, lookup=lookup, embedder=embedder, recall=watch, num_threads=threads)
    uses = KeyUses()
    clock = None if seams.clock is time.time else seams.clock
    chores = (
        lambda: uses.write(database, now=seams.clock()),
        lambda: expire(database, artifacts, now=seams.clock()),
    )
    promotion = Promotion(database=database, indexes=indexes, lookup=lookup, embedder=embedder)
    reach = Reach(allow_private=settings.webhook_allow_private, resolve=seams.resolve)
    return Wiring(
        settings=settings,
        database=database,
        artifacts=artifacts,
        lookup=lookup,
        embedder=embedder,
        search=search,
        checks=IndexChecks(search.indexes, artifacts, found=counted.damaged),
        promotion=promotion,
        audits=Audits(artifacts),
        imports=ModelImports(database, artifacts, quotas=settings.quotas),
        metrics=counted,
        figures=FigureReader(database),
        tracers=seams.tracers or tracer_provider(settings.telemetry, service="infonce-gateway"),
        sweep=Sweep(database, ring, clock=clock, chores=chores),
        broker=BrokerHealth(ping),
        feeds=Feeds(database, max_readers=settings.edge.num_streams, key_seconds=settings.edge.key_seconds),
        callers=KnownCallers(database, settings, clock=seams.clock),
        rates=Rates(),
        uses=uses,
        reach=reach,
        sender=WebhookSender(database, reach, clock=clock),
        mover=Mover(database, promotion, clock=seams.clock),
        clock=seams.clock,
    )


def _admit(database: Database, settings: GatewaySettings, *, now: float) -> None:
    """The first key is stored; raise where anybody could connect without one."""
    first = settings.first_key()
    with database.write() as tx:
        if first is not None:
            adopted = keys.adopt(tx, first, now=now)
            if not keys.is_good(adopted, now):
                log.warning("the key of INFONCE_API_KEY_FILE has ended and opens nothing; put its successor there")
        if not settings.loopback and not keys.any_key(tx):
            message = f"{settings.host} can be reached by other machines and no API key exists; "
            remedy = "make one with `infonce keys create`, or name a file that holds one in INFONCE_API_KEY_FILE"
            raise StartRefused(message + remedy)
