"""The curve of a training while it runs, and of one that did not succeed; that of a model stands in its report."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.tables import curve_points


def add(tx: Tx, job_id: str, *, points: Sequence[Mapping[str, Any]]) -> None:
    """These steps stand in the job's curve; one that was made again, as it was made the last time.

    It is not fenced by itself: a worker adds only in a transaction whose heartbeat was accepted.
    """
    if not points:
        return
    statement = insert(tx, curve_points)
    replaced = statement.on_conflict_do_update(
        index_elements=["job_id", "step"], set_={"record": statement.excluded.record}
    )
    newest = {point["step"]: point for point in points}
    tx.execute(replaced, [{"job_id": job_id, "step": step, "record": point} for step, point in newest.items()])


def read(tx: Tx, job_id: str) -> list[Mapping[str, Any]]:
    """The steps of the job's curve in order."""
    query = sa.select(curve_points.c.record).where(curve_points.c.job_id == job_id).order_by(curve_points.c.step)
    return list(tx.execute(query).scalars())


def forget(tx: Tx, job_id: str) -> None:
    """The job has no curve here: its report tells it."""
    tx.execute(sa.delete(curve_points).where(curve_points.c.job_id == job_id))
