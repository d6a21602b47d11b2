"""One order of work: there is room for it, it is made once however often it comes, and counted as it is written."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from service.callers import Project
from service.dependencies import Parts, Wiring
from service.quotas import admit_job
from service.repetition import Once, Repetition
from service.room import require_room
from service.store import jobs
from service.store.database import Tx
from service.store.records import JobRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordering:
    """A request that orders a job."""

    parts: Wiring
    project: str
    repetition: Repetition

    def of(self, said: str) -> "Ordering":
        """The same order of a request whose body is not all, or nothing, of what it says: that is `said`."""
        self.repetition.request.state.body_sha256 = hashlib.sha256(said.encode()).hexdigest()
        return self

    @property
    def _digest(self) -> str:
        digest: str = self.repetition.request.state.body_sha256
        return digest

    def once(self, make: Callable[[float], str]) -> str:
        """The id of what `make` made now, or of what the same request made before.

        `make` is given the time and calls `insert` in the transaction that makes it.

        Raises:
            StorageFull: there is no room for what a job leaves.
            Conflict: the request's key came with another body (`idempotency_mismatch`).
        """

        def made() -> str:
            require_room(self.parts.artifacts, self.parts.settings)
            id = make(self.parts.clock())
            job = self.repetition.request.state.job
            log.info("job %s: ordered", job, extra={"job": job})
            return id

        return self.repetition.once(self.parts.database, self._digest, make=made)

    def insert(self, tx: Tx, job: JobRecord, *, object_id: str | None = None) -> None:
        """The job waits, if one more may; what the request made is that object, or the job itself.

        Raises:
            Repeated, Conflict: another request with the same key was faster.
            Unavailable, ServiceError: the project has as many jobs, or bytes, as it may.
        """
        made = object_id or job.id
        self.repetition.remember(tx, self._digest, object_id=made)  # first: who comes second is none too many
        admit_job(tx, self.project, quotas=self.parts.settings.quotas, now=job.created_at)
        jobs.insert(tx, job)
        self.repetition.request.state.job = job.id


async def ordering(parts: Parts, project: Project, *, repetition: Once) -> Ordering:
    """What this request orders."""
    return Ordering(parts=parts, project=project, repetition=repetition)


Orders = Annotated[Ordering, Depends(ordering)]
