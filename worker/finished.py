"""An attempt that ended well, and what is to be seen of it once the commit counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.store import jobs
from service.store.database import Tx
from service.store.records import JobRecord
from worker.orders import Order
from worker.workshop import Workshop


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """Files in their final place that nothing points to yet, and the transaction that makes them count."""

    path: Path | None
    """None where there are none."""
    commit: Callable[[Tx, float], bool]
    """Ends the job with its result; False if the attempt is fenced."""
    afterwards: Callable[[], None] = lambda: None
    """What may be done once it counts, and nobody waits for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """An attempt that ended well; its staging folder is sealed."""

    shop: Workshop
    job: JobRecord
    order: Order
    result: Mapping[str, Any]
    num_bytes: int
    """Of the sealed files."""

    def succeed(self, tx: Tx, now: float, *, result: Mapping[str, Any]) -> bool:
        """The job has succeeded with that result; False if the attempt is fenced."""
        return jobs.succeed(tx, self.job.id, attempt=self.job.attempt, now=now, result=result)
