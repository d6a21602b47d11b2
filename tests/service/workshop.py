"""A worker without its processes: the body runs in the test, inputs and publication are the worker's own."""

import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.dependencies import Wiring
from service.store import jobs
from service.store.records import JobRecord
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
