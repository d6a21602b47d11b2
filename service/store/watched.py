"""What of a job changes while somebody watches it: a few columns, read for many jobs at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.store.database import Tx
from service.store.records import JobKind, JobStatus, Phase
from service.store.tables import jobs, record_of


@dataclass(frozen=True, kw_only=True, slots=True)
class JobState:
    """How a job is at one moment."""

    id: str
    kind: JobKind
    status: JobStatus
    phase: Phase
    progress: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


def states(tx: Tx, ids: Collection[str]) -> dict[str, JobState]:
    """By id, how each of these jobs is."""
    columns = (jobs.c[name] for name in ("id", "kind", "status", "phase", "progress"))
    rows = tx.execute(sa.select(*columns).where(jobs.c.id.in_(ids)))
    return {row.id: record_of(JobState, row) for row in rows}
