"""One database, two gateways and a worker, all in this process: what `collection_machine.py` drives and breaks.

The gateways are whole applications without their loops, asked over HTTP; the worker does an index job as
`worker/lifecycle.py` does, but for the child process. Each of them can be cut off in the middle and opened anew.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from infonce.config import Precision, Side
from infonce.encoder import Encoder
from infonce.hub import Hub, HubMode
from service.app import Seams, create_app
from service.embedder import ServedEncoder
from service.settings import GatewaySettings
from service.store import catalog, documents, jobs, versions
from service.store.artifacts import Artifacts
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database, Tx, migrate, now_of, sqlite_url
from service.store.errors import NotFound
from service.store.queue import QUEUE_OF
from service.store.records import DEFAULT_PROJECT, JobError, JobKind, JobRecord, JobStatus
from service.store.settings import StoreSettings
from service.store.tables import jobs as job_table
from service.store.unused import remove_unused
from tests.factories import sentences, tiny_model
from tests.faults.failpoints import Counter, Cut, Fault, armed
from worker.early import EarlyVectors
from worker.jobs.index import run
from worker.orders import Order, clean, write_order
from worker.publish import publish
from worker.pulse import Pulse
from worker.settings import WorkerSettings
from worker.workshop import Workshop

MODELS = ("acme/tiny", "acme/other")
PROMPTS = {"query": "blue ", "document": "under the tree "}
"""Of the second model; the first one has none."""
TEXTS = sentences(12)
QUERIES = [text.rsplit(" ", 1)[0] for text in sentences(6, seed=1)]
NAME = "faq"
DAY = 24 * 3600.0

Vector = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What every world shares: an empty database to copy, two models of different weights, and what they make."""

    folder: Path
    encoders: Mapping[str, ServedEncoder]
    of_texts: Mapping[str, Mapping[str, Vector]]
    """By model, of each text as a document."""
    of_queries: Mapping[str, Vector]
    """By model, of `QUERIES`; (n, D)."""

    @classmethod
    def lay(cls, folder: Path) -> Self:
        """The models are made."""
        encoders, of_texts, of_queries = {}, {}, {}
        migrate(sqlite_url(folder / "empty.db"))
        for seed, name in enumerate(MODELS):
            path = tiny_model(folder / "models" / name, seed=seed)
            if seed:
                (path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
            encoder = Encoder.load(path)
            encoders[name] = ServedEncoder(encoder, Precision.FLOAT32)
            of_texts[name] = dict(zip(TEXTS, encoder.encode(TEXTS, side=Side.DOCUMENT), strict=True))
            of_queries[name] = encoder.encode(QUERIES, side=Side.QUERY)
        assert encoders[MODELS[0]].fingerprint() != encoders[MODELS[1]].fingerprint()
        return cls(folder=folder, encoders=encoders, of_texts=of_texts, of_queries=of_queries)

    @property
    def hub(self) -> Hub:
        """The models' folder."""
        return Hub(models_root=self.folder / "models", mode=HubMode.OFF)


class GatewayProcess:
    """An application whose loops do not run; what it holds in memory is gone when it is opened anew."""

    def __init__(self, home: "Home") -> None:
        settings = GatewaySettings(store=home.settings, hub=home.ground.hub)
        load = home.ground.encoders.__getitem__
        seams = Seams(ring=lambda job_id, queue: None, ping=lambda: True, load=lambda found: load(found.name))
        app = create_app(settings, seams)
        self._parts, self._loop = app.state.wiring, home.loop
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        self._http = httpx2.AsyncClient(transport=transport, base_url="http://gateway")

    def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """The answer of a route below the collections; a text is sent as lines."""
        lines = {"content": body, "headers": {"Content-Type": "application/x-ndjson"}}
        sent: dict[str, Any] = lines if isinstance(body, str) else {"json": body}
        return self._loop.run_until_complete(self._http.request(method, f"/v1/collections{path}", **sent))

    def close(self) -> None:
        """Nothing of it is left."""
        self._loop.run_until_complete(self._http.aclose())
        self._parts.search.close()
        self._parts.audits.close()
        self._parts.embedder.close()
        self._parts.figures.close()
        self._parts.feeds.close()
        self._parts.database.close()


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """An index job whose index lies in its staging folder."""

    job: JobRecord
    order: Order
    result: Mapping[str, Any]

    @property
    def model(self) -> str | None:
        """By which it has embedded."""
        assert self.order.collection is not None, "it is an index job"
        return self.order.collection.model


@dataclass
class Telling:
    """A `Progress` of which nothing is kept but the vectors that can be found early, as a job's parent does it."""

    database: Database
    meanwhile: Callable[[], None]
    """What happens before the first vectors are told."""

    def phase(self, name: str) -> None: ...

    def step(self, values: Mapping[str, Any]) -> None: ...

    def event(self, level: str, type: str, *, message: str, data: Mapping[str, Any] | None = None) -> None: ...

    def resolved(self, values: Mapping[str, Any]) -> None: ...

    def saved(self, step: int) -> None: ...

    def vectors(self, path: Path) -> None:
        self.meanwhile()
        self.meanwhile = lambda: None
        early = EarlyVectors.load(path)
        embedded = Embedded(fingerprint=early.fingerprint, vectors=early.vectors)
        with self.database.write() as tx:
            versions.keep_early_vectors(
                tx, early.collection, model=early.model, embedded=embedded, made_of=early.sequences
            )

    def stop_requested(self) -> bool:
        return False


@dataclass(kw_only=True)
class Home:
    """The folder and the database of one world, and who works on them."""

    ground: Ground
    folder: Path
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __post_init__(self) -> None:
        shutil.copy(self.ground.folder / "empty.db", self.folder / "store.db")
        self.settings = StoreSettings(
            database_url=sqlite_url(self.folder / "store.db"), artifacts=self.folder / "artifacts"
        )
        self.artifacts = Artifacts(self.settings.artifacts)
        self.artifacts.prepare()
        self.database = Database.open(self.settings.database_url)
        self.shop = self._shop()

    def _shop(self) -> Workshop:
        settings = WorkerSettings(store=self.settings, threads=1, environment={}, precision=Precision.FLOAT32)
        database = Database.open(self.settings.database_url)
        return Workshop(settings=settings, database=database, artifacts=self.artifacts, hub=self.ground.hub)

    def close(self) -> None:
        """No connection is open and the folder is gone."""
        self.database.close()
        self.shop.database.close()
        self.loop.close()
        shutil.rmtree(self.folder)

    def collection(self) -> CollectionRecord:
        """As its row is now."""
        with self.database.read() as tx:
            return catalog.get_collection(tx, DEFAULT_PROJECT, name=NAME)

    def stored(self) -> dict[str, tuple[str | None, Mapping[str, Any], bytes | None]]:
        """Text, metadata and vector of each document, as their rows are now."""
        with self.database.read() as tx:
            collection = catalog.get_collection(tx, DEFAULT_PROJECT, name=NAME)
            found = documents.iterate(tx, collection.id, watermark=collection.watermark)
            return {one.id: (one.text, one.metadata, one.vector) for one in found}

    def versions(self) -> list[VersionRecord]:
        """Of the collection, newest first."""
        with self.database.read() as tx:
            return versions.of_collection(tx, catalog.get_collection(tx, DEFAULT_PROJECT, name=NAME).id)

    def compact(self) -> None:
        """A job waits that makes the index of the version that answers anew, as after many writes."""
        with self.database.write() as tx:
            collection = catalog.get_collection(tx, DEFAULT_PROJECT, name=NAME)
            jobs.order_index(tx, collection, now=time.time())

    def waiting(self) -> int:
        """How many index jobs wait."""
        with self.database.read() as tx:
            return len(_in_status(tx, JobStatus.QUEUED))

    def begin(self, meanwhile: Callable[[], None] = lambda: None) -> AtWork | None:
        """The best waiting job has made its index; None where it failed for good.

        `meanwhile` is called before the first of its vectors are told, if it makes any.
        """
        with self.shop.database.write() as tx:
            job = jobs.claim(tx, QUEUE_OF[JobKind.INDEX], owner="machine", now=now_of(tx))
        assert job is not None, "one waits"
        try:
            order = write_order(self.shop, job)
        except NotFound as error:  # its version was deleted
            reason = JobError(code="not_found", message=str(error))
            assert Pulse(self.shop.database, job).commit(
                lambda tx, now: jobs.fail(tx, job.id, attempt=job.attempt, now=now, error=reason)
            )
            return None
        result = run(json.loads(order.path.read_text()), Telling(self.database, meanwhile))
        return AtWork(job=job, order=order, result=json.loads(json.dumps(result)))

    def finish(self, work: AtWork) -> None:
        """Its index is published, and the job has ended."""
        publication = publish(self.shop, work.job, order=work.order, result=work.result)
        clean(self.shop, work.job)
        assert Pulse(self.shop.database, work.job).commit(publication.commit), "nobody else has the job"

    def put_back(self, at_work: Sequence[AtWork]) -> None:
        """The worker is opened anew; jobs that it had and that nobody is at wait again, as the sweep puts them back."""
        self.shop.database.close()
        self.shop = self._shop()
        known = {work.job.id for work in at_work}
        with self.database.write() as tx:
            for row in _in_status(tx, JobStatus.RUNNING):
                if row.id not in known:
                    jobs.release(tx, row.id, attempt=row.attempt, now=time.time(), lost=False, reason="it was cut off")

    def remove_unused(self) -> None:
        """What nothing names is gone, as if it had lain for a day."""
        later = time.time() + 2 * DAY
        list(remove_unused(self.database, self.artifacts, now=later, older_than_seconds=DAY, dry_run=False))


@contextmanager
def cut_at(number: int | None) -> Iterator[Callable[[], bool]]:
    """Inside, the n-th durable call and all later ones raise; the callable says whether that has happened."""
    counter = Counter(Fault.CUT, number or 0)
    with armed(counter), suppress(Cut):
        yield lambda: counter.injected


def _in_status(tx: Tx, status: JobStatus) -> Sequence[sa.Row[Any]]:
    query = sa.select(job_table.c.id, job_table.c.attempt).where(job_table.c.status == status)
    return tx.execute(query.order_by(job_table.c.created_at)).all()
