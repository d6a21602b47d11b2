"""A worker without its processes: the body runs in the test, inputs and publication are the worker's own."""

import base64
import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infonce.bm25 import Bm25Index
from infonce.columns import Columns
from infonce.config import Side
from infonce.index import VectorIndex
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from service.dependencies import Wiring
from service.store import jobs
from service.store.records import JobKind, JobRecord
from tests.service.conftest import WordEncoder
from tests.worker.jobs.conftest import Recorder
from worker.child import BODIES
from worker.finished import Publication
from worker.orders import Order, clean, write_order
from worker.publish import publish
from worker.settings import WorkerSettings
from worker.workshop import Workshop


def workshop(parts: Wiring) -> Workshop:
    """What a worker beside that gateway has."""
    settings = WorkerSettings(store=parts.settings.store, threads=1, environment={})
    return Workshop(settings=settings, database=parts.database, artifacts=parts.artifacts, hub=parts.settings.hub)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One attempt, step by step."""

    shop: Workshop
    job: JobRecord
    order: Order

    @classmethod
    def claim(cls, parts: Wiring, queue: str = "medium") -> "Bench":
        """The best job of the queue, its order written."""
        shop = workshop(parts)
        with parts.database.write() as tx:
            job = jobs.claim(tx, queue, owner="test", now=time.time())
        assert job is not None, "nothing waits"
        return cls(shop=shop, job=job, order=write_order(shop, job))

    def work(self, recorder: Recorder | None = None) -> Mapping[str, Any]:
        """What the body says in the end."""
        body = importlib.import_module(BODIES[self.job.kind]).run
        order = json.loads(Path(self.order.path).read_text())
        result: dict[str, Any] = json.loads(json.dumps(body(order, recorder or Recorder()), allow_nan=False))
        return result

    def published(self, result: Mapping[str, Any]) -> Publication:
        """What the result is once it is committed."""
        return publish(self.shop, self.job, order=self.order, result=result)

    def commit(self, publication: Publication) -> bool:
        """Whether it counts; as the worker, what does not leaves nothing."""
        with self.shop.database.write() as tx:
            committed = publication.commit(tx, time.time())
        if not committed and publication.path is not None:
            self.shop.artifacts.discard(publication.path)
        clean(self.shop, self.job)
        return committed


def work_off(parts: Wiring, queue: str = "medium") -> Recorder:
    """The best job of the queue has succeeded; what its body said."""
    recorder, bench = Recorder(), Bench.claim(parts, queue)
    assert bench.commit(bench.published(bench.work(recorder)))
    return recorder


def index_by_words(bench: Bench) -> Publication:
    """The index job has made its index, as its body does but by an encoder of words, and nothing is committed yet."""
    order = json.loads(bench.order.path.read_text())
    encoder = WordEncoder.of_model(order["model"]["name"])
    rows = [json.loads(line) for line in Path(order["documents"]).read_text().splitlines()]
    vectors = np.zeros((len(rows), order["dimension"]), dtype=np.float32)
    for place, row in enumerate(rows):
        if row["vector"] is None:
            vectors[place] = encoder.encode([row["text"]], side=Side.DOCUMENT)[0]
        else:
            vectors[place] = np.frombuffer(base64.b64decode(row["vector"]), "<f4")
    index = VectorIndex.build(vectors, [row["id"] for row in rows], fingerprint=encoder.fingerprint())
    Main(index=index, columns=Columns.build([row["metadata"] for row in rows])).save(bench.order.staging)
    Bm25Index.build([row["text"] or "" for row in rows]).save(bench.order.staging / WORDS_FOLDER)
    result = {"count": len(rows), "dimension": order["dimension"], "fingerprint": encoder.fingerprint()}
    result["index"] = {"type": index.type.value, "prefix": None}
    return bench.published(result)


def work_off_index(parts: Wiring) -> JobRecord:
    """The index job that waits has succeeded."""
    bench = Bench.claim(parts, "light")
    assert bench.job.kind is JobKind.INDEX and bench.commit(index_by_words(bench))
    return bench.job
