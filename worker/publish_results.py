"""What mining, evaluating, exporting and estimating leave: a file, values of queries, a tar, or numbers alone."""

import time

from service.store import evaluations, exports, files
from service.store.artifacts import EXPORTED, EXPORTED_COLLECTION, MINED
from service.store.checksums import sha256_of
from service.store.database import Tx
from service.store.records import FilePurpose, FileRecord, new_id
from worker.finished import Finished, Publication


def publish_mined(finished: Finished) -> Publication:
    """The new file is in its place, under an id of this attempt's own."""
    job, artifacts = finished.job, finished.shop.artifacts
    staged, id, parent = finished.order.staging / MINED, new_id("file"), str(finished.job.spec["training_file"])
    num_bytes, sha256 = staged.stat().st_size, sha256_of(staged)
    path = artifacts.file_path(id)
    artifacts.publish(staged, path)

    def commit(tx: Tx, now: float) -> bool:
        if not finished.succeed(tx, now, result={**finished.result["mining"], "result_files": [id]}):
            return False
        mined_of = files.get_file(tx, job.project, id=parent)  # it stays while a job that runs names it
        record = FileRecord(
            id=id,
            project=job.project,
            created_at=time.time(),
            filename=_mined_name(mined_of.filename),
            purpose=FilePurpose.FINE_TUNE,
            num_bytes=num_bytes,
            sha256=sha256,
            counts=finished.result["counts"],
            parent=parent,
            job_id=job.id,
            metadata=job.metadata or mined_of.metadata,
        )
        files.insert_file(tx, record)
        return True

    return Publication(path=path, commit=commit)


def publish_evaluation(finished: Finished) -> Publication:
    """The values of every query are in their place."""
    job, artifacts = finished.job, finished.shop.artifacts
    folder = f"{job.id}-a{job.attempt}"
    path, summary = artifacts.evaluation_path(folder), finished.result["summary"]

    def commit(tx: Tx, now: float) -> bool:
        if not finished.succeed(tx, now, result={"evaluation": job.subject, **summary}):
            return False
        evaluations.complete(tx, job_id=job.id, folder=folder, num_bytes=finished.num_bytes, summary=summary)
        return True

    artifacts.publish(finished.order.staging, path)
    return Publication(path=path, commit=commit)


def publish_export(finished: Finished) -> Publication:
    """The tar is in its place."""
    job, artifacts = finished.job, finished.shop.artifacts
    name = EXPORTED_COLLECTION if "collection" in job.spec else EXPORTED
    folder, staged = f"{job.id}-a{job.attempt}", finished.order.staging / name
    path, num_bytes, sha256 = artifacts.export_path(folder), staged.stat().st_size, sha256_of(staged)

    def commit(tx: Tx, now: float) -> bool:
        told = {"export": job.spec.get("export", job.subject), "bytes": num_bytes, "sha256": sha256}
        if not finished.succeed(tx, now, result={**finished.result, **told}):
            return False
        exports.complete(tx, job_id=job.id, folder=folder, num_bytes=num_bytes, sha256=sha256, now=now)
        return True

    artifacts.publish(finished.order.staging, path)
    return Publication(path=path, commit=commit)


def publish_numbers(finished: Finished) -> Publication:
    """Nothing lies anywhere: the result is the job's."""
    return Publication(path=None, commit=lambda tx, now: finished.succeed(tx, now, result=finished.result))


def _mined_name(name: str) -> str:
    """The label of a file mined from one of that label."""
    stem = name.split(".")[0] or name
    return f"{stem[:200]}-mined.jsonl"
