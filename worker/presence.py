"""A worker's sign of life, whether it has work or not: for people, who see it in `/v1/workers`; no lease needs it."""

import logging
from importlib.metadata import version

from service.store import workers
from service.store.database import Database, now_of
from service.store.errors import StoreError
from service.store.signals import WorkerRecord

log = logging.getLogger(__name__)


class Presence:
    """One per worker."""

    def __init__(self, database: Database, id: str, *, queues: tuple[str, ...], began_at: float) -> None:
        self._database = database
        self._id = id
        self._queues = queues
        self._began_at = began_at
        self._version = version("infonce-service")

    def show(self) -> None:
        """The worker is known to be alive now.

        Raises:
            StoreError: it is not.
        """
        with self._database.write() as tx:
            now = now_of(tx)
            seen = WorkerRecord(
                id=self._id, queues=self._queues, version=self._version, created_at=self._began_at, seen_at=now
            )
            workers.see(tx, seen)

    def end(self) -> None:
        """The worker is known to be gone, or will be once it was silent for a lease."""
        try:
            with self._database.write() as tx:
                workers.leave(tx, self._id)
        except StoreError as error:
            log.warning("that this worker ended could not be told: %s", error)
