"""Documents on their way into a collection: checked as a whole first, then stored, then an index job waits."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from infonce.jsonl import IssueLog, TextLines
from service.bodies import MAX_LISTED_PLACES, parse
from service.errors import InvalidInput, Place
from service.quotas import require_kept
from service.schemas.collections import DocumentBody, DocumentsAccepted
from service.settings import Quotas
from service.store import catalog, documents, jobs
from service.store.database import Database, Tx
from service.store.documents import NewDocument
from service.store.records import CollectionRecord

_LINE_BYTES = 4 << 20  # 262,144 characters may be escaped as 12 bytes each
_MAX_LINES = 1 << 40  # a stream has no total limit


def store_documents(
    database: Database, *, project: str, name: str, bodies: Sequence[DocumentBody], quotas: Quotas, now: float
) -> DocumentsAccepted:
    """All of the documents are stored, or none.

    Raises:
        NotFound: no such collection.
        InvalidInput: a document does not fit the collection; up to 20 places are named.
        Conflict: an id is given twice.
        ServiceError: the project would have stored more than it may (`storage_quota`).
    """
    with database.write() as tx:
        collection = catalog.get_collection(tx, project, name=name)
        found = ((place, _misfit(collection, body)) for place, body in enumerate(bodies))
        misfits = [_at(place, misfit) for place, misfit in found if misfit is not None]
        if misfits:
            raise InvalidInput(misfits[:MAX_LISTED_PLACES], param="documents")
        documents.upsert(tx, collection, documents=[_new(body) for body in bodies])
        require_kept(tx, project, quotas=quotas, now=now)
        return _accepted(tx, collection, num=len(bodies), now=now)


def store_lines(
    database: Database, path: Path, *, project: str, name: str, quotas: Quotas, now: float
) -> DocumentsAccepted:
    """The documents of an NDJSON file are stored, if every line is one; of equal ids the last one counts.

    Stored in batches, so that a long stream does not shut out other writers; each leaves an index job waiting, so that
    what a crash, a full disk or the project's limit cut off is searchable as far as it came, and may be sent again.

    Raises:
        NotFound: no such collection.
        DatasetError: lines that are no documents of this collection, or no line at all; nothing is stored.
        ServiceError: the project would have stored more than it may (`storage_quota`).
    """
    with database.read() as tx:
        collection = catalog.get_collection(tx, project, name=name)
    _check_lines(path, collection)
    num = 0
    for batch in documents.in_transactions(_new(body) for _, body in _documents(path, IssueLog())):
        num += len(batch)
        with database.write() as tx:
            documents.upsert(tx, collection, documents=list({one.id: one for one in batch}.values()))
            require_kept(tx, project, quotas=quotas, now=now)
            accepted = _accepted(tx, collection, num=num, now=now)
    return accepted


def _accepted(tx: Tx, collection: CollectionRecord, *, num: int, now: float) -> DocumentsAccepted:
    job = jobs.order_index(tx, collection, now=now)
    return DocumentsAccepted(accepted=num, pending=documents.pending(tx, collection), job=job.id)


def _check_lines(path: Path, collection: CollectionRecord) -> None:
    log = IssueLog()
    num = 0
    for line, body in _documents(path, log):
        num += 1
        if (misfit := _misfit(collection, body)) is not None:
            log.add(misfit.code, misfit.detail, line=line, field=str(misfit.pointer).strip("/"))
    if not num and not log.num_issues:
        log.add("empty_dataset", "the stream has no documents; send one JSON object a line")
    log.raise_any()


def _documents(path: Path, log: IssueLog) -> Iterator[tuple[int, DocumentBody]]:
    """Number and document of each line that holds one; the others are counted in the log."""
    with path.open("rb") as stream:
        for line, text in TextLines(stream, log, max_line_bytes=_LINE_BYTES, max_lines=_MAX_LINES):
            try:
                yield line, parse(DocumentBody, text.encode())
            except InvalidInput as error:
                for place in error.places:
                    field = None if place.pointer is None else place.pointer.strip("/")
                    log.add(place.code, place.detail, line=line, field=field)


def _misfit(collection: CollectionRecord, body: DocumentBody) -> Place | None:
    """Why the document cannot stand in the collection; nothing if it can."""
    if body.vector is None:
        if collection.model is None:
            detail = f"vector is missing; collection {collection.name!r} has no model to embed a text with"
            return Place(code="missing_field", pointer="/vector", detail=detail)
        if body.text is None:
            return Place(code="missing_field", pointer="/text", detail="text is missing; give a text or a vector")
    elif len(body.vector) != collection.dimension:
        detail = f"vector has {len(body.vector)} dimensions, collection {collection.name!r} has {collection.dimension}"
        return Place(code="index_mismatch", pointer="/vector", detail=detail)
    return None


def _at(place: int, misfit: Place) -> Place:
    pointer = f"/documents/{place}{misfit.pointer}"
    return Place(code=misfit.code, pointer=pointer, detail=f"documents.{place}: {misfit.detail}")


def _new(body: DocumentBody) -> NewDocument:
    vector = None if body.vector is None else body.vector.astype("<f4").tobytes()
    return NewDocument(id=body.id, text=body.text, metadata=body.metadata, vector=vector)
