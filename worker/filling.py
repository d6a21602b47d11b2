"""The documents of a corpus file stand in a collection, in batches, however often the filling is begun again."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from infonce.documents import Document, iterate_documents
from infonce.errors import Stopped
from service.store import catalog, documents, jobs
from service.store.collection_records import DocumentRecord
from service.store.documents import NewDocument
from service.store.records import JobRecord, JobStatus
from worker.workshop import Workshop


def fill(shop: Workshop, job: JobRecord, *, path: Path, stop: Callable[[], bool]) -> None:
    """Every document of the file stands in the collection of the deployment, or a newer one of its id does.

    Newer is what was written after the deployment was ordered, by a caller, by an attempt of it that was killed or by a
    deployment that was ordered later: so nothing is overwritten that a user changed meanwhile, another attempt goes on
    where this one ends, and of two files the one that was named last counts, in whatever order they are stored. A
    document that stands there as it is keeps its place.

    Raises:
        NotFound: the collection has been deleted.
        DatasetError: the file is broken.
        Stopped: `stop()` was true between two batches, or another attempt has the job.
    """
    for batch in documents.in_transactions(_new(document, job) for document in iterate_documents(path)):
        if stop():
            raise Stopped("stopped while documents were stored")
        new = {document.id: document for document in batch}
        with shop.database.write() as tx:
            now = jobs.get(tx, job.project, id=job.id)
            if now.attempt != job.attempt or now.status is not JobStatus.RUNNING:
                raise Stopped("another attempt stores the documents")
            collection = catalog.get_collection(tx, job.project, name=job.spec["collection"])
            catalog.lock_collection(tx, collection.id)  # what a caller writes at this moment is seen, or comes later
            there = documents.by_ids(tx, collection.id, ids=list(new))
            missing = [one for one in new.values() if not _stays(there.get(one.id), one, job=job)]
            documents.upsert(tx, collection, documents=missing)


def _stays(there: DocumentRecord | None, new: NewDocument, *, job: JobRecord) -> bool:
    """Whether what stands there is newer than the file, or the same."""
    if there is None:
        return False
    if (there.text, dict(there.metadata), there.vector) == (new.text, dict(new.metadata), None):
        return True
    of_earlier = there.filled_by is not None and there.filled_by < job.id  # ids sort by the time of their making
    return there.sequence > job.spec["watermark"] and not of_earlier


def _new(document: Document, job: JobRecord) -> NewDocument:
    """One without an id is known by its text, so that a file which is stored twice gives no second copy."""
    id = document.id or hashlib.blake2b(document.text.encode(), digest_size=16).hexdigest()
    return NewDocument(id=id, text=document.text, metadata=document.metadata, filled_by=job.id)
