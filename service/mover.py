"""Moves collections to what a deployment made of them, as soon as that lacks nothing of what was written meanwhile.

Every gateway runs the loop. A move is one transaction, which looks whether it is still wanted, so that any number may.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from infonce.errors import InfonceError
from service.errors import ServiceError
from service.promotion import Move, Promotion
from service.store import catalog
from service.store.collection_records import CollectionRecord
from service.store.database import Database, Tx
from service.store.errors import Conflict, StoreError

POLL_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""After a try that failed, doubled from the first to this: a job may have to take in many documents, a model be
restored."""

log = logging.getLogger(__name__)


class Mover:
    """The loop."""

    def __init__(self, database: Database, promotion: Promotion, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._promotion = promotion
        self._clock = clock
        self._pauses: dict[str, tuple[float, float]] = {}
        """By version: when it is tried again, and how long is waited after that."""

    def run(self, stop: threading.Event) -> None:
        """Looks every second until `stop` is set, whatever fails."""
        while not stop.is_set():
            try:
                self.once()
            except StoreError as error:
                log.warning("collections wait for the store to move: %s", error)
            except Exception:  # the process loop's one broad except: what it was at is tried again after its pause
                log.exception("moving a collection failed and goes on")
            stop.wait(POLL_SECONDS)

    def once(self) -> None:
        """Every collection that waits to move has been tried, but for those that have just failed to."""
        with self._database.read() as tx:
            waiting = catalog.waiting_to_move(tx)
        wanted = {str(collection.wanted_version): collection for collection in waiting}
        self._pauses = {version: pause for version, pause in self._pauses.items() if version in wanted}
        for version, collection in wanted.items():
            again_at, pause = self._pauses.get(version, (0.0, FIRST_PAUSE_SECONDS))
            if (now := self._clock()) >= again_at:
                self._pauses[version] = (now + pause, min(2 * pause, LONGEST_PAUSE_SECONDS))
                self._try(collection, version=version, now=now)

    def _try(self, collection: CollectionRecord, *, version: str, now: float) -> None:
        def first(tx: Tx) -> None:
            if catalog.get_collection(tx, collection.project, name=collection.id).wanted_version != version:
                raise Conflict("conflict", f"version {version} is not wanted any more")

        move = Move(expected=None, first=first, now=now)
        try:
            self._promotion.promote(collection.project, collection.id, id=version, guard=None, move=move)
        except (ServiceError, StoreError, InfonceError) as error:
            log.warning("collection %s does not move to version %s yet: %s", collection.id, version, error)
        else:
            log.info("collection %s answers by version %s", collection.id, version)
