"""Documents on their way into a collection: checked as a whole, embedded where they are few, then stored.

Few texts, or documents that bring their vectors, can be found as soon as they are stored; for many an index job waits.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infonce.columns import Columns
from infonce.filters import Filter, keys_of
from service.document_bodies import DocumentLines, as_new, check_fit
from service.errors import ServiceError
from service.quotas import require_kept
from service.schemas.documents import DocumentBody, DocumentsAccepted, DocumentsDeleted
from service.settings import Quotas
from service.store import catalog, changes, documents, jobs
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord
from service.store.database import Database, Tx
from service.store.documents import NewDocument
from service.store.records import JobRecord

_DELETED_AT_ONCE: Final = 1_000


Embed = Callable[[CollectionRecord, Sequence[str]], "tuple[str, NDArray[np.float32]]"]
"""The fingerprint of the collection's model, and a unit vector for each text; (n, D)."""

MAX_EMBEDDED: Final = 256
"""Texts of a call that are embedded before it is answered: a few seconds of a small model on two cores."""

INDEXED_ANYWAY: Final = 1_000
"""Changes beside an index, or a fifth of what it holds if that is more, after which a new one is made: each query
compares with all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Into:
    """Where documents go, and by which rules."""

    project: str
    name: str
    """Of the collection, or its id."""
    embed: Embed
    quotas: Quotas
    now: float
    stored: Callable[[Tx, DocumentsAccepted], None] = lambda tx, accepted: None
    """Called in the transaction that stores the last of them; it may refuse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What a call has come to."""

    accepted: DocumentsAccepted
    leaves_work: bool
    """It has ordered a job."""


def store_documents(database: Database, into: Into, *, bodies: Sequence[DocumentBody]) -> Stored:
    """All of the documents are stored, or none; up to 256 texts, and all that bring vectors, can be found then.

    Where the collection moves to another model while texts are embedded, that one embeds them again.

    Raises:
        NotFound: no such collection.
        InvalidInput: a document does not fit the collection; up to 20 places are named.
        Conflict: an id is given twice.
        ServiceError: the project would have stored more than it may (`storage_quota`).
        Unavailable: too many others wait for their texts to be embedded.
    """
    with database.read() as tx:
        collection = catalog.get_collection(tx, into.project, name=into.name)
    check_fit(collection, bodies)
    return _stored(database, into, collection=collection, found=[as_new(body) for body in bodies])


def _stored(database: Database, into: Into, *, collection: CollectionRecord, found: Sequence[NewDocument]) -> Stored:
    """Documents that fit the collection are stored in one transaction, and in no other one that has its name by now."""
    for is_last in (False, False, True):  # three times in a row it hardly moves within the milliseconds that this takes
        embedded = _embedded(collection, found, embed=into.embed)
        with database.write() as tx:
            newest = catalog.get_collection(tx, into.project, name=collection.id)
            if embedded is None or newest.model == collection.model:
                return _store(tx, newest, into=into, found=found, embedded=embedded)
            if is_last:  # its index job embeds them
                return _store(tx, newest, into=into, found=found, embedded=None)
        collection = newest
    raise AssertionError("the last try stores them")


def _store(
    tx: Tx, collection: CollectionRecord, *, into: Into, found: Sequence[NewDocument], embedded: Embedded | None
) -> Stored:
    watermark = documents.upsert(tx, collection, documents=found, embedded=embedded)
    require_kept(tx, into.project, quotas=into.quotas, now=into.now)
    is_found = all(one.vector is not None or (embedded and one.id in embedded.vectors) for one in found)
    collection = replace(collection, watermark=watermark)
    accepted, job = _accepted(tx, collection, into=into, num=len(found), is_found=is_found)
    return Stored(accepted=accepted, leaves_work=job is not None and job.created_at == into.now)


def _embedded(collection: CollectionRecord, found: Sequence[NewDocument], *, embed: Embed) -> Embedded | None:
    """The vectors of the texts, if these are few."""
    texts = {one.id: one.text for one in found if one.vector is None and one.text is not None}
    return None if len(texts) > MAX_EMBEDDED else _vectors(collection, texts, embed=embed)


def _vectors(collection: CollectionRecord, texts: Mapping[str, str], *, embed: Embed) -> Embedded | None:
    if not texts:
        return None
    fingerprint, vectors = embed(collection, list(texts.values()))
    made = vectors.astype("<f4")
    return Embedded(fingerprint=fingerprint, vectors={id: made[row].tobytes() for row, id in enumerate(texts)})


def store_lines(database: Database, into: Into, *, path: Path) -> Stored:
    """The documents of an NDJSON file are stored, if every line is one; of equal ids the last one counts.

    Few are stored as `store_documents` does it; many in batches, so that a long stream does not shut out other writers.
    Up to 256 texts among them are embedded before. A batch that brings others leaves an index job waiting, so that what
    a crash, a full disk or the project's limit cut off is searchable as far as it came, and may be sent again.

    Raises:
        NotFound: no such collection.
        DatasetError: lines that are no documents of this collection, or no line at all; nothing is stored.
        ServiceError: the project would have stored more than it may (`storage_quota`).
        Unavailable: too many others wait for their texts to be embedded.
    """
    with database.read() as tx:
        collection = catalog.get_collection(tx, into.project, name=into.name)
    lines = DocumentLines.checked(path, collection, few=MAX_EMBEDDED)
    if lines.num <= MAX_EMBEDDED:
        return _stored(database, into, collection=collection, found=list({one.id: one for one in lines}.values()))
    texts = lines.texts or {}
    made, is_found = _vectors(collection, texts, embed=into.embed), lines.texts is not None
    for batch in documents.in_transactions(lines):
        distinct = {one.id: one for one in batch}
        with database.write() as tx:
            newest = catalog.get_collection(tx, into.project, name=collection.id)
            is_found = is_found and (made is None or newest.model == collection.model)  # or the index job embeds them
            without = {id: one.text for id, one in distinct.items() if one.vector is None}
            known = {id for id, text in without.items() if is_found and text == texts.get(id)}
            embedded = None if made is None else made.only(known)
            watermark = documents.upsert(tx, newest, documents=list(distinct.values()), embedded=embedded)
            newest = replace(newest, watermark=watermark)
            require_kept(tx, into.project, quotas=into.quotas, now=into.now)
            if len(known) < len(without) or _is_due(tx, newest):
                jobs.order_index(tx, newest, now=into.now)
    with database.write() as tx:  # once: what is pending is counted through all that no index holds
        newest = catalog.get_collection(tx, into.project, name=collection.id)
        accepted, job = _accepted(tx, newest, into=into, num=lines.num_ids, is_found=is_found)
    return Stored(accepted=accepted, leaves_work=job is not None and job.created_at == into.now)


def delete_documents(
    database: Database, *, project: str, name: str, ids: Sequence[str], allowed: Filter | None = None, now: float
) -> DocumentsDeleted:
    """Those of the documents that existed, and all that pass the filter if there is one, are gone.

    Thousands go in several transactions, so that other writers need not wait; deleting again goes on where a crash
    ended it.

    Raises:
        NotFound: no such collection.
        ServiceError: no document has a key of the filter, and some pass it nevertheless (`unknown_key`).
    """
    with database.read() as tx:
        collection = catalog.get_collection(tx, project, name=name)
    if allowed is not None and (unknown := _unknown_keys(database, collection, allowed=allowed)):
        return DocumentsDeleted(deleted=0, warnings=[f"no document has the metadata key {key!r}" for key in unknown])
    found = iter(ids) if allowed is None else _passing(database, collection, allowed=allowed)
    num = 0
    while batch := list(islice(found, _DELETED_AT_ONCE)):
        with database.write() as tx:
            num += len(documents.delete(tx, collection, ids=batch))
    with database.write() as tx:
        newest = catalog.get_collection(tx, project, name=collection.id)
        if num and _is_due(tx, newest):
            jobs.order_index(tx, newest, now=now)
    return DocumentsDeleted(deleted=num)


def _unknown_keys(database: Database, collection: CollectionRecord, *, allowed: Filter) -> list[str]:
    """The keys of the filter that no document has, where none passes it either.

    Raises:
        ServiceError: there are such keys, and documents pass the filter nevertheless (`unknown_key`).
    """
    unknown, known, passes = dict.fromkeys(keys_of(allowed)), set[str](), False
    for _, columns in _pages(database, collection):
        for key in columns.by_key:
            unknown.pop(key, None)
        if not unknown:
            return []
        known |= columns.by_key.keys()
        passes = passes or bool(columns.mask(allowed).any())
    if passes:
        first = next(iter(unknown))
        near = difflib.get_close_matches(first, known, n=1)
        message = f"no document has the metadata key {first!r}{f'; did you mean {near[0]!r}?' if near else ''}"
        remedy = "nothing was deleted, though documents pass the filter; correct the key or leave it out"
        raise ServiceError("unknown_key", f"{message}; {remedy}", param="filter")
    return list(unknown)


def _passing(database: Database, collection: CollectionRecord, *, allowed: Filter) -> Iterator[str]:
    """The ids of the documents that pass the filter, read a page at a time."""
    for ids, columns in _pages(database, collection):
        yield from (id for id, passes in zip(ids, columns.mask(allowed), strict=True) if passes)


def _pages(database: Database, collection: CollectionRecord) -> Iterator[tuple[Sequence[str], Columns]]:
    """Ids and metadata of all documents, a page at a time."""
    after, more = None, True
    while more:
        with database.read() as tx:
            found, more = documents.page_metadata(tx, collection.id, after=after, limit=_DELETED_AT_ONCE)
        yield list(found), Columns.build(list(found.values()))
        after = next(reversed(found), None)


def _accepted(
    tx: Tx, collection: CollectionRecord, *, into: Into, num: int, is_found: bool
) -> tuple[DocumentsAccepted, JobRecord | None]:
    """What is told; an index job waits where something cannot be found yet, or so much is beside the index."""
    # without a model every document has brought its vector, and none need be counted
    pending = 0 if collection.model is None else documents.pending(tx, collection)
    job = jobs.order_index(tx, collection, now=into.now) if pending or _is_due(tx, collection) else None
    told = None if job is None or is_found else job.id
    accepted = DocumentsAccepted(accepted=num, pending=pending, job=told)
    into.stored(tx, accepted)
    return accepted, job


def _is_due(tx: Tx, collection: CollectionRecord) -> bool:
    """Whether so much was written since the index was made that a new one pays."""
    version = None if collection.active_version is None else catalog.get_version(tx, collection.active_version)
    indexed, count = (0, 0) if version is None else (version.watermark, version.count)
    limit = max(INDEXED_ANYWAY, count // 5)
    if collection.watermark - indexed <= limit:  # each write has taken a number
        return False
    return changes.count_since(tx, collection.id, after=indexed, at_most=limit + 1) > limit
