"""Index jobs that move a collection to another model: ordered, outrun by later ones, followed by trainings."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.records import JobKind, JobRecord, JobStatus
from service.store.tables import collections, jobs
from service.store.waiting import waiting_job


def deployment_job(collection: CollectionRecord, *, model: str, corpus_file: str | None, now: float) -> JobRecord:
    """A job, not yet inserted, after which the collection answers by that model alone.

    The watermark of this moment tells the documents that were written later, and win over those of the corpus file.
    """
    spec = {
        "collection": collection.id,
        "model": model,
        "corpus_file": corpus_file,
        "watermark": collection.watermark,
    }
    return waiting_job(JobKind.INDEX, project=collection.project, spec=spec, now=now, subject=collection.id)


def is_deployment(job: JobRecord) -> bool:
    """Whether the index job moves its collection to a model of its own."""
    return "model" in job.spec


def outrun_by(tx: Tx, job: JobRecord) -> str | None:
    """The id of a deployment to the same collection that was ordered later and has succeeded already."""
    later = sa.tuple_(jobs.c.created_at, jobs.c.id) > sa.tuple_(sa.literal(job.created_at), sa.literal(job.id))
    same = sa.and_(jobs.c.subject == job.subject, jobs.c.kind == JobKind.INDEX, jobs.c.status == JobStatus.SUCCEEDED)
    moves = sa.type_coerce(jobs.c.spec, sa.Text()).contains('"model"')
    return tx.execute(sa.select(jobs.c.id).where(same, later, moves).order_by(jobs.c.id).limit(1)).scalar_one_or_none()


def followed(tx: Tx, records: Sequence[JobRecord]) -> list[JobRecord]:
    """The jobs, each deployment in a result with the status that its index job has by now.

    It is told as running until the collection has moved: what came while it ran may have to be embedded first.
    """
    ids = {record.id: (record.result.get("deployment") or {}).get("job") for record in records}
    wanted = [id for id in ids.values() if id is not None]
    if not wanted:
        return list(records)
    query = sa.select(jobs.c.id, jobs.c.status, jobs.c.result, collections.c.wanted_version)
    query = query.outerjoin_from(jobs, collections, collections.c.id == jobs.c.subject).where(jobs.c.id.in_(wanted))
    statuses = {}
    for row in tx.execute(query):
        waits = row.wanted_version is not None and row.result.get("version") == row.wanted_version
        statuses[row.id] = (JobStatus.RUNNING if waits else JobStatus(row.status)).value
    return [_with_status(record, statuses.get(str(ids[record.id]))) for record in records]


def _with_status(record: JobRecord, status: str | None) -> JobRecord:
    if status is None:
        return record
    return replace(record, result={**record.result, "deployment": {**record.result["deployment"], "status": status}})
