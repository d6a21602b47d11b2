"""One of many ids, as a single parameter: so the statement is the same for any number and is prepared once."""

import json
from collections.abc import Sequence

import sqlalchemy as sa

from service.store.columns import plain_text
from service.store.database import Tx


def among(tx: Tx, column: sa.Column[str], *, ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether the column is one of the ids.

    Raises:
        InvalidValue: an id holds what no text in the database does.
    """
    plain_text("".join(ids))
    if tx.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.Text)))
    each = sa.func.json_each(json.dumps(ids)).table_valued("value")
    return column.in_(sa.select(each.c.value))
