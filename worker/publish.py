"""A finished attempt's files become visible: sealed, renamed into place, then committed under the attempt number.

One function a kind of job says where its files go and what the commit writes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from service.store import catalog, curves, deployments, documents, events, files, jobs, versions
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Tx
from service.store.events import NewEvent
from service.store.records import JobKind, JobRecord, ModelRecord, new_id
from worker import gate
from worker.finished import Finished, Publication
from worker.orders import Order
from worker.publish_results import publish_evaluation, publish_export, publish_mined, publish_numbers
from worker.workshop import Workshop


def publish(shop: Workshop, job: JobRecord, *, order: Order, result: Mapping[str, Any]) -> Publication:
    """The attempt's staging folder is sealed and what is to be seen of it is in its final place.

    Raises:
        StorageFull: there is no room; nothing is in the final place.
    """
    num_bytes = shop.artifacts.seal(order.staging)
    finished = Finished(shop=shop, job=job, order=order, result=result, num_bytes=num_bytes)
    return PUBLISHERS[job.kind](finished)


def publish_model(finished: Finished) -> Publication:
    """The tuned model's folder is in its place."""
    job, artifacts = finished.job, finished.shop.artifacts
    folder = f"{job.id}-a{job.attempt}"
    path, record = artifacts.model_path(folder), _model_record(finished, folder=folder)

    def commit(tx: Tx, now: float) -> bool:
        result = {**finished.result, "model": record.id}
        if (plan := gate.plan(tx, job, model=record, now=now)) is not None:
            result["deployment"] = plan.told(job.spec["deploy"])
        if not finished.succeed(tx, now, result=result):
            return False
        catalog.insert_model(tx, replace(record, data_sha256=_trained_on(tx, job)))
        curves.forget(tx, job.id)
        if plan is not None:
            gate.carry_out(tx, job, plan=plan, now=now)
        return True

    artifacts.publish(finished.order.staging, path)
    return Publication(path=path, commit=commit)


def publish_version(finished: Finished) -> Publication:
    """The index is in its place."""
    artifacts, collection = finished.shop.artifacts, finished.order.collection
    assert collection is not None, "an index job's order names its collection"
    version = _version_record(finished, collection=collection)
    path = artifacts.collection_version_path(collection.id, str(version.folder))

    def commit(tx: Tx, now: float) -> bool:
        result = {**finished.result, "version": version.id}
        catalog.lock_collection(tx, collection.id)  # first: who moves it at this moment has then committed
        moves = deployments.is_deployment(finished.job)
        if moves and (later := deployments.outrun_by(tx, finished.job)) is not None:
            moves, result = False, {**result, "outrun_by": later}
        renewed = None if moves else _renewed(tx, finished.job, built=version)
        if not finished.succeed(tx, now, result=result | ({} if renewed is None else {"version": renewed})):
            return False
        if renewed is None and not catalog.insert_version_and_activate(tx, version, moves_model=moves) and moves:
            events.append(tx, _waits(finished.job, at=now))
        versions.forget_changes(tx, collection.id)
        newest = catalog.get_collection(tx, finished.job.project, name=collection.id)
        if documents.pending(tx, newest):  # documents came while this job ran, or the model was another by now
            jobs.order_index(tx, newest, now=now)
        return True

    def forget_more() -> None:
        more = True
        while more:
            with finished.shop.database.write() as tx:
                more = versions.forget_changes(tx, collection.id)

    artifacts.publish(finished.order.staging, path)
    return Publication(path=path, commit=commit, afterwards=forget_more)


def _waits(job: JobRecord, *, at: float) -> NewEvent:
    """The event of a deployment whose version lacks what was written while it was built."""
    message = "Documents were written meanwhile: a gateway embeds them by the new model, then moves the collection."
    return NewEvent(job_id=job.id, attempt=job.attempt, at=at, level="info", type="waits", message=message, data={})


def _renewed(tx: Tx, job: JobRecord, *, built: VersionRecord) -> str | None:
    """The id of the version that has the index now, or keeps a better one: the job's, or the one that answers."""
    collection = catalog.get_collection(tx, job.project, name=built.collection_id)
    wanted = job.spec.get("version", collection.active_version)
    if wanted is None:
        return None
    versions.renew(tx, wanted, built=built)
    return str(wanted)


PUBLISHERS: Final[Mapping[JobKind, Callable[[Finished], Publication]]] = {
    JobKind.TRAIN: publish_model,
    JobKind.MINE: publish_mined,
    JobKind.EVALUATE: publish_evaluation,
    JobKind.ESTIMATE: publish_numbers,
    JobKind.INDEX: publish_version,
    JobKind.EXPORT: publish_export,
}
"""Who makes the result of a kind of job visible."""


def _model_record(finished: Finished, *, folder: str) -> ModelRecord:
    job, result = finished.job, finished.result
    return ModelRecord(
        id=catalog.model_name(job.spec["model"], job.spec.get("suffix"), unique=job.id),
        project=job.project,
        created_at=time.time(),
        folder=folder,
        parent=job.spec["model"],
        job_id=job.id,
        dimensions=result["dimensions"],
        max_tokens=result["max_tokens"],
        fingerprint=result["fingerprint"],
        summary=result["summary"],
        num_bytes=finished.num_bytes,
        metadata=job.metadata,
    )


def _trained_on(tx: Tx, job: JobRecord) -> str:
    """The SHA-256 of the pairs; the file stays while a job that runs names it."""
    return files.get_file(tx, job.project, id=job.spec["training_file"]).sha256


def _version_record(finished: Finished, *, collection: CollectionRecord) -> VersionRecord:
    id, result = new_id("ver"), finished.result
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
        job_id=finished.job.id,
        num_bytes=finished.num_bytes,
        asked_index=collection.asked_index,
        built_index=result["index"],
    )
