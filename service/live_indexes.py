"""Collections that are open for queries: each the index of its active version, kept up with what is written.

A collection that has no version yet is served from what was written to it alone.
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from service.open_words import OpenWords
from service.recent import Recent
from service.repairs import Repairs
from service.store import catalog, changes, documents, jobs, versions
from service.store.artifacts import Artifacts
from service.store.changes import ChangeRecord
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database, Tx
from service.store.errors import Conflict
from service.store.records import JobRecord, JobStatus

if TYPE_CHECKING:
    from infonce.live_index import Change, LiveIndex

MAX_OPEN: Final = 8
"""How many indexes stay in memory; the least recently asked one goes first."""


_Answering: TypeAlias = tuple[CollectionRecord, VersionRecord | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One state of a collection: which model and version answer, and what they search."""

    collection: CollectionRecord
    version: VersionRecord | None
    fingerprint: str | None
    """Of the model whose vectors are searched; None where they are the client's, or none was made yet."""
    live: "LiveIndex"
    words: OpenWords
    """Of what is searched."""
    pending: int
    """Documents that cannot be found as they are now."""

    @property
    def model(self) -> str | None:
        """What embeds a query."""
        return self.collection.model if self.version is None else self.version.model


@dataclass(frozen=True, slots=True)
class _Open:
    served: Served
    seen: int
    """The collection's watermark that it is up to date with."""


class LiveIndexes:
    """What can be searched, as of the moment of the question: every write that was committed is seen."""

    def __init__(self, database: Database, artifacts: Artifacts) -> None:
        self._database = database
        self._artifacts = artifacts
        self._repairs = Repairs(database)
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()
        self._of_key: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._answering: Recent[tuple[str, str], _Answering] = Recent(database, unseen_seconds=0.0)

    def current(self, project: str, name: str) -> Served:
        """The collection as it is now.

        Raises:
            NotFound: no such collection.
            ArtifactCorrupt, IndexCorrupt: the index on disk is damaged.
        """
        collection, version = self._answering.read((project, name), lambda: self._read_answering(project, name))
        found = self._up_to_date(collection, version)
        return found or self.current(project, name)  # an index job has ended since it was read

    def _read_answering(self, project: str, name: str) -> _Answering:
        with self._database.read() as tx:
            collection = catalog.get_collection(tx, project, name=name)
            active = collection.active_version
            return collection, None if active is None else versions.get(tx, collection.id, id=active)

    def of_version(self, project: str, name: str, *, id: str) -> Served:
        """The collection as it would be if that version answered now.

        Raises:
            NotFound: no such collection or version.
            Conflict: the version is still being built, or never will be (`not_ready`).
            ArtifactCorrupt, IndexCorrupt: the index on disk is damaged.
        """
        with self._database.read() as tx:
            collection = catalog.get_collection(tx, project, name=name)
            version = versions.get(tx, collection.id, id=id)
            if version.folder is None:
                raise _not_built(version, job=jobs.get(tx, project, id=version.job_id))
        return self._up_to_date(collection, version) or self.of_version(project, name, id=id)

    def _up_to_date(self, collection: CollectionRecord, version: VersionRecord | None) -> Served | None:
        """The state with every write; None where there is another index by now, which holds more of them."""
        key = collection.id if version is None else f"{version.id}/{version.folder}"
        found = self._opened(key, collection)
        if found is None:
            with self._lock_of(key):  # one at a time: what two ask for at once is read once
                found = self._opened(key, collection) or self._renewed(key, collection, version=version)
        return found

    def _opened(self, key: str, collection: CollectionRecord) -> Served | None:
        with self._lock:
            known = self._open.get(key)
            if known is None:
                return None
            self._open.move_to_end(key)
            return known.served if known.seen >= collection.watermark else None

    def _lock_of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._of_key[key]

    def _renewed(self, key: str, collection: CollectionRecord, *, version: VersionRecord | None) -> Served | None:
        """The newest state, made of the one that is open or of what is on disk, and kept.

        None where the collection has its first version by now, or the version another index: what that holds is no
        longer told as a change.
        """
        with self._lock:
            known = self._open.get(key)
        base = self._unchanged(collection, version) if known is None else known
        with self._database.read() as tx:
            collection = catalog.get_collection(tx, collection.project, name=collection.id)
            if not _is_there(tx, collection, version=version):
                return None
            fingerprint = changes.fingerprint_of(tx, collection.id) if version is None else version.fingerprint
            if fingerprint != base.served.fingerprint:  # before there is a version, the model may have been replaced
                base = self._unchanged(collection, version)
            written = changes.since(tx, collection.id, fingerprint=fingerprint, after=base.seen)
            live = base.served.live.with_changes(_as_changes(written))
            pending = documents.pending(tx, collection, version=version)
        served = replace(base.served, collection=collection, fingerprint=fingerprint, live=live, pending=pending)
        with self._lock:
            self._open[key] = _Open(served, collection.watermark)
            self._open.move_to_end(key)
            if len(self._open) > MAX_OPEN:
                gone, _ = self._open.popitem(last=False)
                self._of_key.pop(gone, None)
        return served

    def _unchanged(self, collection: CollectionRecord, version: VersionRecord | None) -> _Open:
        """What is on disk, and nothing that came later; before there is a version that is nothing at all."""
        served = Served(
            collection=collection,
            version=version,
            fingerprint=None if version is None else version.fingerprint,
            live=self._load(collection, version),
            words=OpenWords(
                self._database, self._artifacts, collection=collection, version=version, repairs=self._repairs
            ),
            pending=0,
        )
        return _Open(served, 0 if version is None else version.watermark)

    def _load(self, collection: CollectionRecord, version: VersionRecord | None) -> "LiveIndex":
        """What is on disk, which is what was sealed."""
        from infonce.live_index import LiveIndex, Main  # brings FAISS: not before the first query

        if version is None:
            return LiveIndex.over(Main.empty(collection.dimension))
        assert version.folder is not None, "it was built"
        folder = self._artifacts.collection_version_path(version.collection_id, version.folder)
        with self._repairs.watching(collection, version):
            self._artifacts.verify(folder)  # the manifest as well, which the index itself has to believe
            return LiveIndex.over(Main.load(folder, is_proven=True))  # a large one is not read twice


def _not_built(version: VersionRecord, *, job: JobRecord) -> Conflict:
    """What is wrong with asking a version that has no index."""
    if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        told = f"Version {version.id} was never built: its job {job.id} is {job.status.value}"
        return Conflict("not_ready", f"{told}; delete it and order another one")
    return Conflict("not_ready", f"Version {version.id} is being built by job {job.id}; ask again later")


def _is_there(tx: Tx, collection: CollectionRecord, *, version: VersionRecord | None) -> bool:
    """Whether what was written is told as changes to that state."""
    if version is None:
        return collection.active_version is None
    return version.folder in [one.folder for one in versions.of_collection(tx, collection.id)]


def _as_changes(written: Iterable[ChangeRecord]) -> Iterator["Change"]:
    from infonce.live_index import Change

    for one in written:
        vector = None if one.vector is None else np.frombuffer(one.vector, dtype="<f4")
        yield Change(id=one.id, vector=vector, metadata=one.metadata)
