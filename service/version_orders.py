"""Index jobs for a version that does not answer yet, or whose index is to be made anew."""

from collections.abc import Callable

from service.store import jobs
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Tx
from service.store.records import JobKind, JobRecord
from service.store.waiting import waiting_job


def order_version(
    tx: Tx,
    collection: CollectionRecord,
    *,
    version: VersionRecord,
    now: float,
    insert: Callable[[Tx, JobRecord], None] = jobs.insert,
) -> str:
    """The id of a job, at work or not yet, which makes the version's index of all documents that it finds.

    `insert` may add to what is written with a new one, or refuse.
    """
    spec = {"collection": collection.id, "version": version.id, "of_model": version.model}
    twin = jobs.queued_twin(tx, JobKind.INDEX, subject=collection.id, spec=spec, may_run=True)
    if twin is not None:
        return twin.id
    job = waiting_job(JobKind.INDEX, project=collection.project, spec=spec, now=now, subject=collection.id)
    insert(tx, job)
    return job.id
