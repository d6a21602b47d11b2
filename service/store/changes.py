"""What became of a collection since an index of it was made: documents written, embedded, deleted.

An index holds everything up to its watermark; what came later is searched from here until the next one holds it too.
Whatever changes what can be found takes a sequence number of its own, a vector that becomes known after its document
was written too, so that who has told everything up to a number needs only what comes after it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from typing import Any, Final, Self

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

    def only(self, ids: Collection[str]) -> Self:
        """Those of these documents."""
        return replace(self, vectors={id: vector for id, vector in self.vectors.items() if id in ids})


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeRecord:
    """A document as one write left it."""

    id: str
    sequence: int
    vector: bytes | None
    """None: it is gone, or waits for its vector; it cannot be found."""
    metadata: Mapping[str, Any]
    is_late: bool = False
    """It was written before, and waited for this vector."""


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
    """The vectors are known, under the numbers of the writes that they came with, or under new ones of their own."""
    told = {"collection_id": collection_id, "fingerprint": embedded.fingerprint}
    rows = [
        {**told, "document_id": id, "sequence": sequences[id], "vector": vector}
        for id, vector in embedded.vectors.items()
    ]
    if rows:
        tx.execute(sa.insert(document_vectors), rows)


def make_known(tx: Tx, collection_id: str, *, embedded: Embedded, made_of: Mapping[str, int]) -> int:
    """Vectors of documents that were written before are known, each told as a change of its own; returns how many.

    `made_of` are the sequence numbers of the documents whose texts were embedded: a document that was written anew
    since then, or is gone, is passed over, and so is one whose vector is known already.
    """
    if reserve(tx, collection_id, count=0) is None:  # from here on nobody else writes to it
        return 0
    query = sa.select(documents.c.id, documents.c.sequence)
    query = query.where(_unknown(collection_id, fingerprint=embedded.fingerprint))
    query = query.where(among(tx, documents.c.id, ids=list(embedded.vectors)))
    lacking = {row.id: row.sequence for row in tx.execute(query)}
    vectors = {id: vector for id, vector in embedded.vectors.items() if lacking.get(id) == made_of[id]}
    watermark = reserve(tx, collection_id, count=len(vectors))
    assert watermark is not None, "its row is locked"
    first = watermark - len(vectors) + 1
    sequences = {id: first + place for place, id in enumerate(vectors)}
    keep_vectors(tx, collection_id, embedded=replace(embedded, vectors=vectors), sequences=sequences)
    return len(vectors)


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


def since(
    tx: Tx, collection_id: str, *, fingerprint: str | None, after: int, indexed: int = 0
) -> Iterator[ChangeRecord]:
    """What became of every document that was written, embedded or deleted after that sequence number, each told once.

    In the order of the numbers; few are in memory at a time. A document that waits for its vector is told as gone: what
    was known of its id before was of another text and other metadata. A vector of a document that an index has, which
    reaches as far as `indexed`, is no news whenever it came.
    """
    written = _written(tx, collection_id, fingerprint=fingerprint, after=after)
    if fingerprint is None or after <= indexed:
        return written
    late = _late(tx, collection_id, fingerprint=fingerprint, after=after, indexed=indexed)
    return merge(written, late, key=lambda change: change.sequence)


def _written(tx: Tx, collection_id: str, *, fingerprint: str | None, after: int) -> Iterator[ChangeRecord]:
    while True:
        found = _page(tx, collection_id, fingerprint=fingerprint, after=after)
        yield from found
        if len(found) < _BATCH:
            return
        after = found[-1].sequence


def _late(tx: Tx, collection_id: str, *, fingerprint: str, after: int, indexed: int) -> Iterator[ChangeRecord]:
    """Vectors that came later; what was written later too is told as written, with its vector."""
    vectors, told = document_vectors.c, after
    query = sa.select(vectors.document_id, vectors.sequence, vectors.vector).order_by(vectors.sequence).limit(_BATCH)
    query = query.where(vectors.collection_id == collection_id, vectors.fingerprint == fingerprint)
    of_them = sa.select(documents.c.id, documents.c.metadata).where(documents.c.collection_id == collection_id)
    of_them = of_them.where(documents.c.sequence > indexed, documents.c.sequence <= after)
    while came := tx.execute(query.where(vectors.sequence > told)).all():  # few: joined, all documents may be read
        some = of_them.where(among(tx, documents.c.id, ids=[row.document_id for row in came]))
        there = {row.id: row.metadata for row in tx.execute(some)}
        for id, sequence, vector in came:
            if id in there:
                yield ChangeRecord(id=id, sequence=sequence, vector=vector, metadata=there[id], is_late=True)
        told = came[-1].sequence


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
    query = sa.select(documents.c.id, documents.c.sequence, documents.c.text)
    query = query.where(_unknown(collection_id, fingerprint=fingerprint), documents.c.sequence > after)
    query = query.order_by(documents.c.sequence).limit(limit)
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


def _unknown(collection_id: str, *, fingerprint: str | None) -> sa.ColumnElement[bool]:
    """Documents of the collection whose vector by that encoder is not known beside them."""
    known = sa.exists().where(
        document_vectors.c.collection_id == documents.c.collection_id,
        document_vectors.c.document_id == documents.c.id,
        document_vectors.c.fingerprint == fingerprint,
    )
    return sa.and_(documents.c.collection_id == collection_id, documents.c.vector.is_(None), ~known)


def _page(tx: Tx, collection_id: str, *, fingerprint: str | None, after: int) -> list[ChangeRecord]:
    """The next writes and deletions, at most a batch, in their order."""
    vectors = document_vectors
    same = sa.and_(
        vectors.c.collection_id == documents.c.collection_id,
        vectors.c.document_id == documents.c.id,
        vectors.c.fingerprint == fingerprint,
    )
    vector = sa.func.coalesce(documents.c.vector, vectors.c.vector).label("vector")
    written = sa.select(documents.c.id, documents.c.sequence, vector, documents.c.metadata)
    written = written.select_from(documents.outerjoin(vectors, same)).where(documents.c.collection_id == collection_id)
    written = written.where(documents.c.sequence > after).order_by(documents.c.sequence).limit(_BATCH)
    gone = sa.select(deletions.c.document_id, deletions.c.sequence).where(deletions.c.collection_id == collection_id)
    gone = gone.where(deletions.c.sequence > after).order_by(deletions.c.sequence).limit(_BATCH)
    found = [
        ChangeRecord(id=row.id, sequence=row.sequence, vector=row.vector, metadata=row.metadata)
        for row in tx.execute(written)
    ]
    found += [
        ChangeRecord(id=row.document_id, sequence=row.sequence, vector=None, metadata={}) for row in tx.execute(gone)
    ]
    return sorted(found, key=lambda change: change.sequence)[:_BATCH]
