"""A collection that goes: its jobs end, its rows go a few at a time, so that other writers need not wait, then its own.

What is cut off on the way leaves a collection with fewer documents, which can be deleted again.
"""

from typing import Final

import sqlalchemy as sa

from service.store import brought, catalog, changes, exports, wishes
from service.store import documents as stored
from service.store.change_tables import brought_vectors, deletions, document_vectors
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.errors import Conflict
from service.store.records import JobKind, JobStatus
from service.store.tables import collections, documents, jobs, repeats, versions

ROWS_AT_ONCE: Final = 5_000

_KEYS: Final = ((documents, "id"), (document_vectors, "document_id"), (deletions, "document_id"))
_UNFINISHED: Final = jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED])


def begin(tx: Tx, project: str, *, name: str) -> CollectionRecord:
    """The collection, of which nothing is gone yet.

    Raises:
        NotFound: the project has no such collection.
        Conflict: a training that has not ended is to be deployed to it (`in_use`).
    """
    collection = catalog.get_collection(tx, project, name=name)
    trainings = sa.select(jobs.c.id, jobs.c.spec).where(
        jobs.c.project == project, jobs.c.kind == JobKind.TRAIN, _UNFINISHED
    )
    for id, spec in tx.execute(trainings.order_by(jobs.c.id)):
        if (spec.get("deploy") or {}).get("collection") == collection.name:
            message = f"The job {id} is to be deployed to the collection {collection.name}"
            raise Conflict("in_use", f"{message}; cancel it or wait for its end")
    return collection


def go_on(tx: Tx, collection: CollectionRecord, *, now: float) -> bool:
    """Whether rows are left; with the last ones the collection is gone, and so are its exports; its jobs are to end."""
    if changes.reserve(tx, collection.id, count=0) is None:  # from here on nobody else writes to it
        return False
    if sum([_remove_some(tx, collection.id, table=table, key=key) for table, key in _KEYS]):
        return True
    of_it = sa.and_(jobs.c.subject == collection.id, jobs.c.kind.in_([JobKind.INDEX, JobKind.EXPORT]))
    for id in list(tx.execute(sa.select(jobs.c.id).where(of_it, _UNFINISHED).order_by(jobs.c.id)).scalars()):
        wishes.request_cancel(tx, collection.project, id=id, now=now)
    exports.end_of_collection(tx, collection.id, now=now)
    for table in (versions, brought_vectors):
        tx.execute(sa.delete(table).where(table.c.collection_id == collection.id))
    held = sa.and_(repeats.c.project == collection.project, repeats.c.object_id == collection.id)
    tx.execute(sa.delete(repeats).where(held))  # it may come again
    tx.execute(sa.delete(collections).where(collections.c.id == collection.id))
    return False


def _remove_some(tx: Tx, collection_id: str, *, table: sa.Table, key: str) -> int:
    """How many rows of the table are gone."""
    of_here = table.c.collection_id == collection_id
    some = sa.select(table.c[key]).where(of_here).order_by(table.c[key]).limit(ROWS_AT_ONCE)
    if table is documents:
        gone = stored.held(tx, collection_id, ids=table.c[key].in_(some))
        brought.let_go(tx, collection_id, gone=gone.brought)
    return tx.execute(sa.delete(table).where(of_here, table.c[key].in_(some))).rowcount
