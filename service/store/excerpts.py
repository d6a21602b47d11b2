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
    sequence: int


def read(
    tx: Tx, collection_id: str, *, ids: Sequence[str], fields: frozenset[Field], at_once: int
) -> Iterator[Excerpt]:
    """Those of the documents that exist; so many are asked for at once, which PostgreSQL's driver has in memory."""
    for start in range(0, len(ids), at_once):
        rows = tx.execute(_some(fields), {"of": collection_id, "ids": ids[start : start + at_once]})
        for id, text, metadata, sequence in rows:
            yield Excerpt(id=id, text=text, metadata=metadata, sequence=sequence)


@cache
def _some(fields: frozenset[Field]) -> sa.Select[Any]:
    """Made once: to make it takes longer than to read ten documents."""
    chosen = [documents.c[name] if name in fields else sa.null().label(name) for name in Field]
    of_these = documents.c.id.in_(sa.bindparam("ids", expanding=True))
    query = sa.select(documents.c.id, *chosen, documents.c.sequence)
    return query.where(documents.c.collection_id == sa.bindparam("of"), of_these)
