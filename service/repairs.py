"""A damaged index is made anew of the documents: whoever finds the damage orders the job."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infonce.errors import IndexCorrupt
from service.store import versions
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database, now_of
from service.store.errors import ArtifactCorrupt, StoreError
from service.version_orders import order_version

log = logging.getLogger(__name__)


class Repairs:
    """Orders a job for a damaged folder once; what was ordered and failed is not ordered by every query that comes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._ordered: set[str] = set()
        """Folders."""

    @contextmanager
    def watching(self, collection: CollectionRecord, version: VersionRecord | None) -> Iterator[None]:
        """What is found damaged inside belongs to that version, whose index a job makes anew."""
        try:
            yield
        except (ArtifactCorrupt, IndexCorrupt) as error:
            if version is not None and version.folder is not None and self._is_first(version.folder):
                self._order(collection, version, why=error)
            raise

    def _is_first(self, folder: str) -> bool:
        with self._lock:
            is_first = folder not in self._ordered
            self._ordered.add(folder)
            return is_first

    def _order(self, collection: CollectionRecord, version: VersionRecord, *, why: Exception) -> None:
        try:
            with self._database.write() as tx:
                newest = versions.get(tx, collection.id, id=version.id)
                if newest.folder != version.folder:  # it has another index by now
                    return
                job = order_version(tx, collection, version=newest, now=now_of(tx))
            log.warning("job %s makes the index of version %s anew: %s", job, version.id, why)
        except StoreError as error:
            log.warning("no job makes the index of version %s anew yet: %s", version.id, error)
            with self._lock:
                self._ordered.discard(str(version.folder))
