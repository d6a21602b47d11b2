"""POSTs that may come twice: which object an earlier one of the same key made.

The row is written in the transaction that makes the object, so that either both are there or none.
"""

from typing import Final

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.errors import Conflict, Repeated
from service.store.records import RepeatRecord
from service.store.tables import record_of, repeats, values_of

KEPT_SECONDS: Final = 24 * 3600.0


def check(tx: Tx, asked: RepeatRecord, *, since: float) -> None:
    """Raise if the key was used since then.

    Raises:
        Repeated: for the same body.
        Conflict: for another one (`idempotency_mismatch`).
    """
    same_key = sa.and_(repeats.c.project == asked.project, repeats.c.route == asked.route, repeats.c.key == asked.key)
    row = tx.execute(sa.select(repeats).where(same_key, repeats.c.created_at >= since)).one_or_none()
    if row is None:
        return
    if (earlier := record_of(RepeatRecord, row)).body_sha256 != asked.body_sha256:
        message = "This Idempotency-Key came with another body before; send a new key with a new request"
        raise Conflict("idempotency_mismatch", message)
    raise Repeated(earlier.object_id)


def remember(tx: Tx, made: RepeatRecord, *, since: float) -> None:
    """A repetition will find the object; rows of a day ago are gone.

    Raises:
        Repeated, Conflict: as `check`, another request was faster.
    """
    tx.execute(sa.delete(repeats).where(repeats.c.created_at < made.created_at - KEPT_SECONDS))
    statement = insert(tx, repeats).values(values_of(made, repeats))
    values = {"body_sha256": made.body_sha256, "object_id": made.object_id, "created_at": made.created_at}
    statement = statement.on_conflict_do_update(
        index_elements=["project", "route", "key"], set_=values, where=repeats.c.created_at < since
    )
    if tx.execute(statement.returning(repeats.c.object_id)).first() is None:
        check(tx, made, since=since)
