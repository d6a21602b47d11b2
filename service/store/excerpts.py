"""What is told of documents that were found: texts and metadata as far as they are asked for, and never a vector."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa

from service.store.database import Tx
from service.store.tables import documents


class Field(StrEnum):
    """What of a document may be left out."""

    TEXT = "text"
    METADATA = "metadata"


@dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """A document without what nobody asked for, which is None here."""

    id: str
    text: str | None
    metadata: Mapping[str, Any] | None
    is_brought: bool
    """Whether the client brought its vector."""
    sequence: int


EVERYTHING = frozenset(Field)


def read(
    tx: Tx, collection_id: str, *, ids: Sequence[str], fields: frozenset[Field], at_once: int
) -> Iterator[Excerpt]:
    """Those of the documents that exist; so many are asked for at once, which PostgreSQL's driver has in memory."""
    for start in range(0, len(ids), at_once):
        rows = tx.execute(_some(fields), {"of": collection_id, "ids": ids[start : start + at_once]})
        yield from map(_excerpt, rows)


def walk(tx: Tx, collection_id: str, *, after: str | None, descending: bool, at_once: int) -> Iterator[Excerpt]:
    """All documents behind that id, in the order of their ids or against it; so many are asked for at once."""
    id, last = documents.c.id, after
    order = id.desc() if descending else id
    while True:
        query = _chosen(EVERYTHING).where(documents.c.collection_id == collection_id)
        if last is not None:
            query = query.where(id < last if descending else id > last)
        num = 0
        for row in tx.execute(query.order_by(order).limit(at_once)):
            num, last = num + 1, row.id
            yield _excerpt(row)
        if num < at_once:
            return


@cache
def _some(fields: frozenset[Field]) -> sa.Select[Any]:
    """Made once: to make it takes longer than to read ten documents."""
    of_these = documents.c.id.in_(sa.bindparam("ids", expanding=True))
    return _chosen(fields).where(documents.c.collection_id == sa.bindparam("of"), of_these)


def _chosen(fields: frozenset[Field]) -> sa.Select[Any]:
    chosen = [documents.c[name] if name in fields else sa.null().label(name) for name in Field]
    is_brought = documents.c.vector.is_not(None).label("is_brought")
    return sa.select(documents.c.id, *chosen, is_brought, documents.c.sequence)


def _excerpt(row: sa.Row[Any]) -> Excerpt:
    return Excerpt(
        id=row.id, text=row.text, metadata=row.metadata, is_brought=bool(row.is_brought), sequence=row.sequence
    )
