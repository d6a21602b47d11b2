"""One window of a list, by cursor: the id of the element after which it begins."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.columns import plain_text
from service.store.database import Tx
from service.store.errors import BadCursor
from service.store.records import Page


def window(
    tx: Tx, query: sa.Select[Any], *, table: sa.Table, page: Page, where: Sequence[sa.ColumnElement[bool]] = ()
) -> tuple[list[sa.Row[Any]], bool]:
    """At most `page.limit` rows of the query in creation order or its reverse, and whether more follow.

    What may change between two windows stands in `where`: the element `page.after` need not fit it any more, nor
    `page.metadata`.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    order = (table.c.created_at, table.c.id)
    if page.after is not None:
        anchor = tx.execute(query.where(table.c.id == page.after)).one_or_none()
        if anchor is None:
            raise BadCursor(page.after)
        mark = sa.tuple_(sa.literal(anchor.created_at, sa.Double()), sa.literal(anchor.id, table.c.id.type))
        place = sa.tuple_(*order)
        query = query.where(place < mark if page.descending else place > mark)
    query = query.order_by(*(column.desc() if page.descending else column.asc() for column in order))
    if page.metadata:
        where = [*where, *_having(tx, table.c.metadata, metadata=page.metadata)]
    rows = list(tx.execute(query.where(*where).limit(page.limit + 1)))
    return rows[: page.limit], len(rows) > page.limit


def _having(tx: Tx, column: sa.Column[Any], *, metadata: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """That the JSON object in that column has each of these pairs."""
    return [_has(tx, column, key=plain_text(key), value=plain_text(value)) for key, value in metadata.items()]


def _has(tx: Tx, column: sa.Column[Any], *, key: str, value: str) -> sa.ColumnElement[bool]:
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import JSONB  # not before it is needed, as in `database.insert`

        found: sa.ColumnElement[str] = sa.cast(column, JSONB)[key].astext
        return found == value
    pair = sa.func.json_each(column).table_valued("key", "value")
    return sa.exists(sa.select(1).select_from(pair).where(pair.c.key == key, pair.c.value == value))
