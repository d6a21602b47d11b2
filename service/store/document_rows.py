"""Documents as rows, a thousand at once: checked together, and written by a statement that is prepared once.

SQLAlchemy's own way to many rows looks at them value by value, which takes longer than writing them.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from service.store.columns import plain_text
from service.store.database import Tx


class DocumentRow(NamedTuple):
    """A row of the table, in the order of its columns."""

    collection_id: str
    id: str
    text: str | None
    metadata: str
    """As JSON."""
    vector: bytes | None
    sequence: int
    filled_by: str | None


_COLUMNS: Final = ", ".join(DocumentRow._fields)
_KEY: Final = ("collection_id", "id")
_IN_PLACE: Final = ", ".join(f"{name} = excluded.{name}" for name in DocumentRow._fields if name not in _KEY)
_REPLACE: Final = f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {_IN_PLACE}"
_MARKS: Final = f"({', '.join('?' * len(DocumentRow._fields))})"
_AT_ONCE: Final = 100
"""Rows of a statement on SQLite: at each its driver lets other threads run, and waits for its turn afterwards."""
_ONE: Final = f"INSERT INTO documents ({_COLUMNS}) VALUES {_MARKS} {_REPLACE}"
_MANY: Final = f"INSERT INTO documents ({_COLUMNS}) VALUES {', '.join([_MARKS] * _AT_ONCE)} {_REPLACE}"
_KINDS: Final = {"vector": "bytea", "sequence": "bigint"}  # the others are texts
_ARRAYS: Final = ", ".join(f"%({name})s::{_KINDS.get(name, 'text')}[]" for name in DocumentRow._fields)
_POSTGRESQL: Final = f"INSERT INTO documents ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS}) {_REPLACE}"
"""A statement for all rows: one for each would be a message to the server."""


def write(tx: Tx, rows: Sequence[DocumentRow]) -> int:
    """The rows stand in the table, in place of those with the same ids; how many bytes they take.

    Raises:
        InvalidValue: an id or a text cannot be stored.
    """
    texts = "".join(row.text for row in rows if row.text is not None)
    plain_text("".join(row.id for row in rows) + texts)
    if tx.dialect.name == "postgresql":
        columns = map(list, zip(*rows, strict=True))
        tx.exec_driver_sql(_POSTGRESQL, dict(zip(DocumentRow._fields, columns, strict=True)))
    else:
        whole = len(rows) - len(rows) % _AT_ONCE
        for start in range(0, whole, _AT_ONCE):
            tx.exec_driver_sql(_MANY, tuple(chain.from_iterable(rows[start : start + _AT_ONCE])))
        if rest := list(rows[whole:]):
            tx.exec_driver_sql(_ONE, rest)
    vectors = sum(len(row.vector) for row in rows if row.vector is not None)
    return len(texts.encode()) + len("".join(row.metadata for row in rows).encode()) + vectors
