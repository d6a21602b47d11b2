"""What is told of documents that were found: texts and metadata as far as they are asked for, and never a vector."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa

from service.store.columns import plain_text
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
    num_characters: int
    """Of text and metadata as they are stored; JSON that is sent has at most six bytes for each."""


EVERYTHING = frozenset(Field)
_EVERYTHING = (
    *(documents.c.id, documents.c.text, sa.type_coerce(documents.c.metadata, sa.Text)),
    *(documents.c.vector.is_not(None), documents.c.sequence),
)
"""What `_excerpt` is made of."""


def read(
    tx: Tx, collection_id: str, *, ids: Sequence[str], fields: frozenset[Field], at_once: int
) -> Iterator[Excerpt]:
    """Those of the documents that exist; so many are asked for at once, which PostgreSQL's driver has in memory.

    Raises:
        InvalidValue: an id holds what no text in the database does.
    """
    plain_text("".join(ids))
    for start in range(0, len(ids), at_once):
        some = list(ids[start : start + at_once])
        if tx.dialect.name == "postgresql":
            rows = tx.exec_driver_sql(_some(fields, num_ids=None), (collection_id, some))
        else:
            rows = tx.exec_driver_sql(_some(fields, num_ids=len(some)), (collection_id, *some))
        for row in rows:
            yield _excerpt(row)


def walk(tx: Tx, collection_id: str, *, after: str | None, descending: bool, at_once: int) -> Iterator[Excerpt]:
    """All documents behind that id, in the order of their ids or against it; so many are asked for at once."""
    id, last = documents.c.id, after
    order = id.desc() if descending else id
    while True:
        query = sa.select(*_EVERYTHING).where(documents.c.collection_id == collection_id)
        if last is not None:
            query = query.where(id < last if descending else id > last)
        num = 0
        for row in tx.execute(query.order_by(order).limit(at_once)):
            num, last = num + 1, row.id
            yield _excerpt(row)
        if num < at_once:
            return


@cache
def _some(fields: frozenset[Field], *, num_ids: int | None) -> str:
    """Documents by their ids as the driver takes it: to look through a statement takes longer than to read ten of them.

    SQLite's has a mark for each of so many ids, PostgreSQL's an array.
    """
    chosen = ", ".join(name if name in fields else "NULL" for name in Field)
    given = "%s", "= ANY(%s)"
    if num_ids is not None:
        given = "?", f"IN ({', '.join('?' * num_ids)})"
    what = f"SELECT id, {chosen}, vector IS NOT NULL, sequence FROM documents"
    return f"{what} WHERE collection_id = {given[0]} AND id {given[1]}"


def _excerpt(row: Sequence[Any]) -> Excerpt:
    id, text, metadata, is_brought, sequence = row
    return Excerpt(
        id=id,
        text=text,
        metadata=None if metadata is None else json.loads(metadata),
        is_brought=bool(is_brought),
        sequence=sequence,
        num_characters=len(text or "") + len(metadata or ""),
    )
