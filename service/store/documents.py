"""The documents of collections: texts and vectors are kept, so that an index can always be built again.

Every write gets the next sequence number of its collection; the watermark is the newest number given.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa

from service.store import brought, changes, document_rows
from service.store.answering import Answering, Encoding, answering
from service.store.change_tables import document_vectors
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord, DocumentRecord, VersionRecord
from service.store.columns import json_text
from service.store.database import Tx
from service.store.document_rows import DocumentRow
from service.store.errors import Conflict, NotFound
from service.store.id_lists import among
from service.store.tables import collections, record_of
from service.store.tables import documents as table

_BATCH = 500  # rows per statement: large enough to be cheap, small enough for either backend's parameter limit
_MAX_AT_ONCE = 1_000
"""Documents a transaction: other writers wait for about 20 ms."""
_MAX_CHARACTERS_AT_ONCE = 4_000_000  # a text may have 262,144: 1,000 of them would be written for seconds
_FIELDS = [table.c[name] for name in ("id", "text", "metadata", "vector", "sequence", "filled_by")]
_BY_IDS = sa.select(*_FIELDS).where(  # made once: to make it takes longer than to read ten documents
    table.c.collection_id == sa.bindparam("of"), table.c.id.in_(sa.bindparam("ids", expanding=True))
)
_KEPT = ("text", "metadata", "vector")  # what a document takes room by


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDocument:
    """A document as it is written: a text that the server embeds, or a vector that is used as it is."""

    id: str
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    vector: bytes | None = None
    """Little-endian float32, unit length."""
    filled_by: str | None = None
    """The deployment that writes it from its corpus file."""


def in_transactions(found: Iterable[NewDocument]) -> Iterator[list[NewDocument]]:
    """The documents, so many at once as other writers wait for tens of milliseconds; a large one stands with few."""
    batch, size = list[NewDocument](), 0
    for document in found:
        batch.append(document)
        size += len(document.text or "") + len(document.vector or b"")
        if len(batch) == _MAX_AT_ONCE or size >= _MAX_CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def upsert(
    tx: Tx,
    collection: CollectionRecord,
    *,
    documents: Sequence[NewDocument],
    embedded: Embedded | None = None,
    brought_for: Encoding | None = None,
) -> int:
    """All of these documents are stored, in place of those with the same ids; returns the watermark.

    Those that bring a vector, or have theirs among `embedded`, can be found from now on. Vectors are brought for the
    model by which the collection answers, unless it is known that they were for another.

    Raises:
        Conflict: an id stands in the call twice (`duplicate_id`).
        NotFound: the collection does not exist.
    """
    ids = [document.id for document in documents]
    if len(set(ids)) < len(ids):
        twice = next(id for id, count in Counter(ids).items() if count > 1)
        raise Conflict("duplicate_id", f"The document id {twice!r} is given more than once; send each id once a call")
    watermark = changes.reserve(tx, collection.id, count=len(documents))
    if watermark is None:
        raise NotFound("collection", collection.id)
    first = watermark - len(documents) + 1
    if ids:
        before = held(tx, collection.id, ids=among(tx, table.c.id, ids=ids))  # nobody else writes: its row is locked
        rows = [_row(collection.id, document, sequence=first + place) for place, document in enumerate(documents)]
        more = document_rows.write(tx, rows) - before.num_bytes
        brought.let_go(tx, collection.id, gone=before.brought)
        changes.supersede(tx, collection.id, ids=ids)
        if embedded is not None:
            sequences = {document.id: first + place for place, document in enumerate(documents)}
            changes.keep_vectors(tx, collection.id, embedded=embedded, sequences=sequences)
        num_brought = sum(document.vector is not None for document in documents)
        brought.take_in(tx, collection.id, num=num_brought, since=first, encoding=brought_for)
        grown = sa.update(collections).where(collections.c.id == collection.id)
        tx.execute(grown.values(num_bytes=collections.c.num_bytes + more))
    return watermark


def delete(tx: Tx, collection: CollectionRecord, *, ids: Sequence[str]) -> list[str]:
    """Those of these documents that existed, which are gone and can be found no more."""
    if changes.reserve(tx, collection.id, count=0) is None:  # from here on nobody else writes to it
        return []
    before = held(tx, collection.id, ids=among(tx, table.c.id, ids=list(dict.fromkeys(ids))))
    gone = changes.delete(tx, collection, ids=ids)
    brought.let_go(tx, collection.id, gone=before.brought)
    shrunk = sa.update(collections).where(collections.c.id == collection.id)
    tx.execute(shrunk.values(num_bytes=collections.c.num_bytes - before.num_bytes))
    return gone


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What some of a collection's documents take."""

    num_bytes: int
    brought: Mapping[int, int]
    """How many brought their vectors, by where the stretches begin in which these came."""


def held(tx: Tx, collection_id: str, *, ids: sa.ColumnElement[bool]) -> Held:
    """Of those of the documents that exist, as they are stored; `ids` says which."""
    found = tx.execute(_held(tx.dialect.name).where(table.c.collection_id == collection_id, ids)).all()
    return Held(
        num_bytes=sum(int(num_bytes) for _, num_bytes, _ in found), brought={at: num for at, _, num in found if num}
    )


def by_ids(tx: Tx, collection_id: str, *, ids: Sequence[str]) -> dict[str, DocumentRecord]:
    """Those of the documents that exist, by id."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, DocumentRecord] = {}
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        rows = tx.execute(_BY_IDS, {"of": collection_id, "ids": some})
        found |= {row.id: record_of(DocumentRecord, row) for row in rows}
    return found


def texts_of(tx: Tx, collection_id: str, *, ids: Sequence[str]) -> dict[str, str]:
    """The texts of those of the documents that exist and have one, by id."""
    query = sa.select(table.c.id, table.c.text).where(table.c.collection_id == collection_id)
    query = query.where(among(tx, table.c.id, ids=ids), table.c.text.is_not(None))
    return {row.id: row.text for row in tx.execute(query)}


def count(tx: Tx, collection_id: str) -> int:
    """How many documents the collection has."""
    return _counts(tx, table.c.collection_id == collection_id)[collection_id]


def pending(tx: Tx, collection: CollectionRecord, *, version: VersionRecord | None = None) -> int:
    """How many documents cannot be found as they are now: no index has them, and their vectors are not known.

    Of the version that answers, unless another one is given.
    """
    unfound = _unfound_by_active(answering(tx, [collection.id])) if version is None else _unfound_by(version)
    return _counts(tx, unfound)[collection.id]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """How many documents a collection has."""

    documents: int
    pending: int
    """That cannot be found yet."""
    brought: int
    """That brought their vectors."""
    foreign: int
    """Of these, while another model answered."""


def counts(tx: Tx, found: Sequence[CollectionRecord]) -> dict[str, Counted]:
    """Of each collection; all of them are one question."""
    ids = [collection.id for collection in found]
    states, brought_of = answering(tx, ids), brought.of_collections(tx, ids)
    every, waiting = _counts(tx, table.c.collection_id.in_(ids)), _counts(tx, _unfound_by_active(states))
    return {
        id: Counted(
            documents=every[id],
            pending=waiting[id],
            brought=sum(one.count for one in brought_of[id]),
            foreign=brought.num_foreign(brought_of[id], states[id].encoding),
        )
        for id in ids
    }


def _unfound_by_active(states: Mapping[str, Answering]) -> sa.ColumnElement[bool]:
    """Of each collection, the documents that the version which answers cannot find."""
    unfound = [
        _unfound(id, searchable=state.searchable, fingerprint=state.encoding.fingerprint)
        for id, state in states.items()
    ]
    return sa.or_(sa.false(), *unfound)


def _unfound_by(version: VersionRecord) -> sa.ColumnElement[bool]:
    return _unfound(version.collection_id, searchable=version.watermark, fingerprint=version.fingerprint)


def _unfound(collection_id: str, *, searchable: int, fingerprint: str | None) -> sa.ColumnElement[bool]:
    """Neither an index as far as `searchable` has the document, nor is its vector by that encoder known."""
    known = sa.exists().where(
        document_vectors.c.collection_id == table.c.collection_id,
        document_vectors.c.document_id == table.c.id,
        document_vectors.c.fingerprint == fingerprint,
    )
    later = sa.and_(table.c.collection_id == collection_id, table.c.sequence > searchable)
    return sa.and_(later, table.c.vector.is_(None), ~known)


def page_ids(tx: Tx, collection_id: str, *, after: str | None, limit: int) -> tuple[list[str], bool]:
    """At most so many ids in their order, behind that one, and whether more follow."""
    query = sa.select(table.c.id).where(table.c.collection_id == collection_id)
    if after is not None:
        query = query.where(table.c.id > after)
    ids = list(tx.execute(query.order_by(table.c.id).limit(limit + 1)).scalars())
    return ids[:limit], len(ids) > limit


def page_metadata(
    tx: Tx, collection_id: str, *, after: str | None, limit: int
) -> tuple[dict[str, Mapping[str, Any]], bool]:
    """The metadata of such documents, by id in the order of the ids, and whether more follow."""
    query = sa.select(table.c.id, table.c.metadata).where(table.c.collection_id == collection_id)
    if after is not None:
        query = query.where(table.c.id > after)
    rows = tx.execute(query.order_by(table.c.id).limit(limit + 1)).all()
    return {row.id: row.metadata for row in rows[:limit]}, len(rows) > limit


def iterate(tx: Tx, collection_id: str, *, watermark: int) -> Iterator[DocumentRecord]:
    """The documents written up to the watermark, in the order of their writing; few are in memory at a time."""
    last = 0
    while True:
        query = sa.select(*_FIELDS).where(table.c.collection_id == collection_id)
        query = query.where(table.c.sequence > last, table.c.sequence <= watermark)
        rows = tx.execute(query.order_by(table.c.sequence).limit(_BATCH)).all()
        if not rows:
            return
        yield from (record_of(DocumentRecord, row) for row in rows)
        last = rows[-1].sequence


def _row(collection_id: str, document: NewDocument, *, sequence: int) -> DocumentRow:
    return DocumentRow(
        collection_id,
        document.id,
        document.text,
        json_text(document.metadata),
        document.vector,
        sequence,
        document.filled_by,
    )


@cache
def _held(dialect: str) -> sa.Select[Any]:
    """By where stretches begin, what documents take and how many brought their vectors."""
    sizes = (sa.func.coalesce(_octets(dialect, table.c[name]), 0) for name in _KEPT)
    total, stretch = sa.func.sum(sum(sizes, sa.literal(0))), brought.START_OF_STRETCH.label("stretch")
    return sa.select(stretch, total, sa.func.count(table.c.vector)).group_by(stretch)


def _octets(dialect: str, column: sa.Column[Any]) -> sa.ColumnElement[int]:
    if dialect == "postgresql":
        return sa.func.octet_length(column)
    return sa.func.length(sa.cast(column, sa.LargeBinary()))  # of a text it would count characters


def _counts(tx: Tx, condition: sa.ColumnElement[bool]) -> Counter[str]:
    """How many documents of each collection that has any fulfil the condition."""
    query = sa.select(table.c.collection_id, sa.func.count()).where(condition).group_by(table.c.collection_id)
    return Counter(dict(tx.execute(query).all()))
