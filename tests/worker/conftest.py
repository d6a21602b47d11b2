"""A workshop on SQLite in a temporary folder whose children are small scripts that speak the child's protocol."""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from infonce.hub import Hub, HubMode
from service.store import catalog, files, jobs
from service.store.artifacts import Artifacts
from service.store.collection_records import CollectionRecord
from service.store.database import Database, migrate
from service.store.records import FilePurpose, FileRecord, JobKind, JobRecord, JobStatus, Phase, new_id
from service.store.settings import StoreSettings
from worker.lifecycle import answer
from worker.settings import WorkerSettings
from worker.workshop import Workshop

PROJECT = "default"
MODEL = "acme/tiny"

CHILD = """
import json, os, signal, sys, time
from pathlib import Path
order = json.loads(Path(sys.argv[1]).read_text())
staging = Path(order["staging"])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
def say(type, **body):
    sys.stdout.write(json.dumps({"type": type, **body}) + "\\n")
    sys.stdout.flush()
def finish_training():
    (staging / "model.safetensors").write_bytes(b"weights")
    summary = {"metric": "ndcg@10", "evaluations": [], "verdict": None}
    result = {"fingerprint": "f", "dimensions": 32, "max_tokens": 64, "trained_tokens": 7, "summary": summary}
    say("done", result=result)
def finish_index():
    (staging / "index.faiss").write_bytes(b"index")
    count = len(Path(order["documents"]).read_text().splitlines())
    index = {"type": "flat", "prefix": None}
    made = {"count": count, "dimension": 2, "fingerprint": None, "index": index}
    say("done", result={**made, "reused": 0, "embedded": count})
"""
"""What every script begins with; the real child is tested in test_child.py."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A workshop, and what a test does with it."""

    shop: Workshop
    folder: Path
    pool: ThreadPoolExecutor

    @property
    def drain_path(self) -> Path:
        assert self.shop.settings.drain_path is not None
        return self.shop.settings.drain_path

    def with_child(self, script: str) -> "Site":
        """The same site with children that run `script`."""
        return replace(self, shop=replace(self.shop, command=(sys.executable, "-c", CHILD + script)))

    def answer(self, queue: str = "train") -> None:
        """The doorbell rings and the job's attempt has ended."""
        answer(lambda: self.shop, queue)

    def begin(self, queue: str = "train") -> "Future[None]":
        """The doorbell rings; the attempt goes on in a thread."""
        return self.pool.submit(partial(self.answer, queue))

    def job(self, id: str) -> JobRecord:
        """The job as it is now."""
        with self.shop.database.read() as tx:
            return jobs.get(tx, PROJECT, id=id)

    def submit(self, kind: JobKind, spec: dict[str, Any], *, subject: str | None = None) -> str:
        """The id of a new job that waits."""
        common = {"status": JobStatus.QUEUED, "phase": Phase.WAITING, "created_at": time.time(), "subject": subject}
        job = JobRecord(id=new_id("ftjob"), project=PROJECT, kind=kind, spec=spec, **common)
        with self.shop.database.write() as tx:
            jobs.insert(tx, job)
        return job.id

    def submit_training(self, **changed: Any) -> str:
        """The id of a new training job over an uploaded file."""
        file = FileRecord(
            id=new_id("file"), project=PROJECT, created_at=time.time(), filename="pairs.jsonl",
            purpose=FilePurpose.FINE_TUNE, num_bytes=2, sha256=sha256(b"{}").hexdigest(), counts={"pairs": 1},
        )  # fmt: skip
        self.shop.artifacts.file_path(file.id).write_text("{}")
        with self.shop.database.write() as tx:
            files.insert_file(tx, file)
        spec = {
            "model": MODEL, "training_file": file.id, "validation_file": None, "evaluation_file": None,
            "suffix": "faq", "config": {}, "encoder": {}, "evaluation": {"held_out": 0, "ks": [10]},
        }  # fmt: skip
        return self.submit(JobKind.TRAIN, spec | changed)

    def new_collection(self) -> CollectionRecord:
        """An empty collection of vectors with two dimensions."""
        collection = CollectionRecord(
            id=new_id("col"), project=PROJECT, name="faq", created_at=time.time(), model=None, dimension=2,
            metadata={}, watermark=0,
        )  # fmt: skip
        with self.shop.database.write() as tx:
            catalog.insert_collection(tx, collection)
        return collection

    def submit_index(self, collection: CollectionRecord) -> str:
        """The id of a new index job over the collection."""
        return self.submit(JobKind.INDEX, {"collection": collection.id}, subject=collection.id)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    url = f"sqlite:///{tmp_path}/infonce.db"
    migrate(url)
    model = tmp_path / "base" / MODEL
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    artifacts = Artifacts(tmp_path / "artifacts")
    artifacts.prepare()
    store = StoreSettings(database_url=url, artifacts=artifacts.root, broker_url=None)
    settings = WorkerSettings(store=store, threads=1, environment=dict(os.environ), drain_path=tmp_path / "drain")
    hub = Hub(models_root=tmp_path / "base", mode=HubMode.OFF)
    database = Database.open(url)
    shop = Workshop(settings=settings, database=database, artifacts=artifacts, hub=hub)
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield Site(shop=shop, folder=tmp_path, pool=pool)
    database.close()
