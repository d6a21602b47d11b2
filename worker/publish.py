"""A finished attempt's files become visible: sealed, renamed into place, then committed under the attempt number."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.store import catalog, jobs
from service.store.database import Tx
from service.store.records import (
    CollectionRecord,
    JobRecord,
    ModelRecord,
    VersionRecord,
    new_id,
)
from worker.orders import Order
from worker.workshop import Workshop


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """Files in their final place that nothing points to yet, and the transaction that makes them count."""

    path: Path
    commit: Callable[[Tx, float], bool]
    """Ends the job with its result; False if the attempt is fenced."""


def publish(shop: Workshop, job: JobRecord, *, order: Order, result: Mapping[str, Any]) -> Publication:
    """The attempt's staging folder is sealed and in its final place.

    Raises:
        StorageFull: there is no room; nothing is in the final place.
    """
    shop.artifacts.seal(order.staging)
    num_bytes = sum(size for size, _ in shop.artifacts.sealed_files(order.staging).values())
    if order.collection is None:
        folder = f"{job.id}-a{job.attempt}"
        path = shop.artifacts.model_path(folder)
        record = replace(_model_record(job, result, folder=folder), num_bytes=num_bytes)
        commit = _ending_train(job, result, record=record)
    else:
        version = replace(_version_record(job, result, collection=order.collection), num_bytes=num_bytes)
        path = shop.artifacts.collection_version_path(order.collection.id, version.id)
        commit = _ending_index(job, result, version=version)
    shop.artifacts.publish(order.staging, path)
    return Publication(path=path, commit=commit)


def model_name(base: str, suffix: str | None, *, job_id: str) -> str:
    """`ft:<base-slug>:<suffix>:<id8>`; a model tuned from a tuned one keeps the slug of the first base."""
    last = base.split(":")[1] if base.startswith("ft:") else base.rsplit("/", 1)[-1]
    slug = re.sub(r"[^a-z0-9.]+", "-", last.lower()).strip("-")
    return f"ft:{slug}:{suffix or ''}:{job_id[-8:]}"


def _model_record(job: JobRecord, result: Mapping[str, Any], *, folder: str) -> ModelRecord:
    spec = job.spec
    return ModelRecord(
        id=model_name(spec["model"], spec.get("suffix"), job_id=job.id),
        project=job.project,
        created_at=time.time(),
        folder=folder,
        parent=spec["model"],
        job_id=job.id,
        dimensions=result["dimensions"],
        max_tokens=result["max_tokens"],
        fingerprint=result["fingerprint"],
        summary=result["summary"],
    )


def _version_record(job: JobRecord, result: Mapping[str, Any], *, collection: CollectionRecord) -> VersionRecord:
    id = new_id("ver")
    return VersionRecord(
        id=id,
        collection_id=collection.id,
        created_at=time.time(),
        model=collection.model,
        fingerprint=result["fingerprint"],
        dimension=result["dimension"],
        count=result["count"],
        watermark=collection.watermark,
        folder=id,
        job_id=job.id,
    )


def _ending_train(job: JobRecord, result: Mapping[str, Any], *, record: ModelRecord) -> Callable[[Tx, float], bool]:
    def commit(tx: Tx, now: float) -> bool:
        if not jobs.succeed(tx, job.id, attempt=job.attempt, now=now, result={**result, "model": record.id}):
            return False
        catalog.insert_model(tx, record)
        return True

    return commit


def _ending_index(job: JobRecord, result: Mapping[str, Any], *, version: VersionRecord) -> Callable[[Tx, float], bool]:
    def commit(tx: Tx, now: float) -> bool:
        if not jobs.succeed(tx, job.id, attempt=job.attempt, now=now, result={**result, "version": version.id}):
            return False
        catalog.insert_version_and_activate(tx, version)
        collection = catalog.get_collection(tx, job.project, name=version.collection_id)
        if collection.watermark > version.watermark:  # documents came while this job ran
            jobs.order_index(tx, collection, now=now)
        return True

    return commit
