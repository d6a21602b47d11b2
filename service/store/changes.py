"""What was written to a collection since an index of it was made: documents that have their vector, and deletions.

An index holds everything up to its watermark; what came later is searched from here until the next one holds it too.
A document whose vector is not known yet changes nothing until an index job has embedded it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from service.store.change_tables import deletions, document_vectors
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.id_lists import among
from service.store.tables import collections, documents

_BATCH: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Vectors of documents' texts, by document id, all made by the encoder of that fingerprint."""

    fingerprint: str
    vectors: Mapping[str, bytes]
    """Little-endian float32, unit length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeRecord:
    """A document as one write left it."""

    id: str
    sequence: int
    vector: bytes | None
    """None: it is gone."""
    metadata: Mapping[str, Any]


def reserve(tx: Tx, collection_id: str, *, count: int) -> int | None:
    """The last of so many sequence numbers of the collection, whose row is then locked; None if there is no such."""
    taken = sa.update(collections).where(collections.c.id == collection_id)
    taken = taken.values(watermark=collections.c.watermark + count)
    return tx.execute(taken.returning(collections.c.watermark)).scalar_one_or_none()


def supersede(tx: Tx, collection_id: str, *, ids: Sequence[str]) -> None:
    """What was known of these documents beside their rows is forgotten: they are written anew."""
    for table in (deletions, document_vectors):
        some_of_it = sa.select(table.c.document_id).where(table.c.collection_id == collection_id).limit(1)
        if tx.execute(some_of_it).first() is None:  # as in any collection that only grows by vectors
            continue
        given = among(tx, table.c.document_id, ids=ids)
        tx.execute(sa.delete(table).where(table.c.collection_id == collection_id, given))


def keep_vectors(tx: Tx, collection_id: str, *, embedded: Embedded, sequences: Mapping[str, int]) -> None:
    """The vectors are known; `sequences` are those of the writes that they belong to, and still count."""
    told = {"collection_id": collection_id, "fingerprint": embedded.fingerprint}
    rows = [
        {**told, "document_id": id, "sequence": sequences[id], "vector": vector}
        for id, vector in embedded.vectors.items()
    ]
    if rows:
        tx.execute(sa.insert(document_vectors), rows)


def delete(tx: Tx, collection: CollectionRecord, *, ids: Sequence[str]) -> list[str]:
    """Those of these documents that existed, which are gone and can be found no more; the collection is locked."""
    removed = sa.delete(documents).where(documents.c.collection_id == collection.id, among(tx, documents.c.id, ids=ids))
    gone = list(tx.execute(removed.returning(documents.c.id)).scalars())
    if not gone:
        return gone
    supersede(tx, collection.id, ids=gone)
    watermark = reserve(tx, collection.id, count=len(gone))
    assert watermark is not None, "its row is locked"
    first = watermark - len(gone) + 1
    rows = [
        {"collection_id": collection.id, "document_id": id, "sequence": first + place} for place, id in enumerate(gone)
    ]
    tx.execute(sa.insert(deletions), rows)
    return gone


def since(tx: Tx, collection_id: str, *, fingerprint: str | None, after: int) -> Iterator[ChangeRecord]:
    """Every write after that sequence number whose outcome can be searched, in order; few are in memory at a time."""
    while True:
        found = _page(tx, collection_id, fingerprint=fingerprint, after=after)
        yield from found
        if len(found) < _BATCH:
            return
        after = found[-1].sequence


def count_since(tx: Tx, collection_id: str, *, after: int, at_most: int = 2**53) -> int:
    """How many writes there were after that sequence number that still count; at `at_most` of them the count ends."""
    total = 0
    for table in (documents, deletions):
        later = sa.and_(table.c.collection_id == collection_id, table.c.sequence > after)
        some = sa.select(table.c.sequence).where(later).limit(at_most - total).subquery()
        total += tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
    return total


def missing(tx: Tx, collection_id: str, *, fingerprint: str, after: int, limit: int) -> dict[str, tuple[int, str]]:
    """Later documents whose text that encoder has not embedded: sequence number and text, by id."""
    known = sa.exists().where(
        document_vectors.c.collection_id == documents.c.collection_id,
        document_vectors.c.document_id == documents.c.id,
        document_vectors.c.fingerprint == fingerprint,
    )
    query = sa.select(documents.c.id, documents.c.sequence, documents.c.text)
    query = query.where(documents.c.collection_id == collection_id, documents.c.sequence > after)
    query = query.where(documents.c.vector.is_(None), ~known).order_by(documents.c.sequence).limit(limit)
    return {row.id: (row.sequence, row.text) for row in tx.execute(query)}


def fingerprint_of(tx: Tx, collection_id: str) -> str | None:
    """The encoder of the vectors that are known here; None where there are none."""
    query = sa.select(document_vectors.c.fingerprint).where(document_vectors.c.collection_id == collection_id)
    return tx.execute(query.order_by(document_vectors.c.sequence.desc()).limit(1)).scalar_one_or_none()


def vectors_of(tx: Tx, collection_id: str, *, fingerprint: str, ids: Sequence[str] | None = None) -> dict[str, bytes]:
    """The vectors by that encoder that are known here, of all documents or of these few, by document id."""
    query = sa.select(document_vectors.c.document_id, document_vectors.c.vector)
    query = query.where(
        document_vectors.c.collection_id == collection_id,
        document_vectors.c.fingerprint == fingerprint,
    )
    if ids is not None:
        query = query.where(among(tx, document_vectors.c.document_id, ids=ids))
    return {row.document_id: row.vector for row in tx.execute(query)}


def _page(tx: Tx, collection_id: str, *, fingerprint: str | None, after: int) -> list[ChangeRecord]:
    """The next changes, at most a batch, of both kinds in their order."""
    vectors = document_vectors
    same = sa.and_(
        vectors.c.collection_id == documents.c.collection_id,
        vectors.c.document_id == documents.c.id,
        vectors.c.fingerprint == fingerprint,
    )
    vector = sa.func.coalesce(documents.c.vector, vectors.c.vector).label("vector")
    written = sa.select(documents.c.id, documents.c.sequence, vector, documents.c.metadata)
    written = written.select_from(documents.outerjoin(vectors, same))
    written = written.where(documents.c.collection_id == collection_id, documents.c.sequence > after)
    written = written.where(vector.is_not(None)).order_by(documents.c.sequence).limit(_BATCH)
    gone = sa.select(deletions.c.document_id, deletions.c.sequence)
    gone = gone.where(deletions.c.collection_id == collection_id, deletions.c.sequence > after)
    gone = gone.order_by(deletions.c.sequence).limit(_BATCH)
    found = [
        ChangeRecord(id=row.id, sequence=row.sequence, vector=row.vector, metadata=row.metadata)
        for row in tx.execute(written)
    ]
    found += [
        ChangeRecord(id=row.document_id, sequence=row.sequence, vector=None, metadata={}) for row in tx.execute(gone)
    ]
    return sorted(found, key=lambda change: change.sequence)[:_BATCH]
