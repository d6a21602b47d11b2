"""Collections that are open for queries: each the index of its active version, kept up with what is written.

A collection that has no version yet is served from what was written to it alone.
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from service.foreign_vectors import foreign_warnings
from service.open_words import OpenWords
from service.recent import Recent
from service.repairs import Repairs
from service.settings import DEFAULT_OPEN_INDEXES
from service.store import brought, catalog, changes, documents, jobs, versions
from service.store.answering import Encoding
from service.store.artifacts import Artifacts
from service.store.changes import ChangeRecord
from service.store.collection_records import CollectionRecord, VersionRecord, VersionStatus
from service.store.database import Database, Tx
from service.store.errors import Conflict
from service.store.records import JobRecord, JobStatus

if TYPE_CHECKING:
    from infonce.live_index import Change, LiveIndex


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
    foreign: int
    """Documents that brought their vectors while another model answered."""

    @property
    def model(self) -> str | None:
        """What embeds a query."""
        return self.collection.model if self.version is None else self.version.model

    @property
    def warnings(self) -> list[str]:
        """What is wrong with what is searched, whatever is asked."""
        return foreign_warnings(self.foreign, model=self.model)


@dataclass(frozen=True, slots=True)
class _Open:
    served: Served
    seen: int
    """The collection's watermark that it is up to date with."""


class LiveIndexes:
    """What can be searched, as of the moment of the question: every write that was committed is seen."""

    def __init__(self, database: Database, artifacts: Artifacts, *, max_open: int = DEFAULT_OPEN_INDEXES) -> None:
        """`max_open`: how many indexes stay open; the one asked longest ago is closed."""
        self._database = database
        self._artifacts = artifacts
        self._max_open = max_open
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
            if version.status is VersionStatus.BUILDING:
                assert version.job_id is not None, "a job builds it"
                raise _not_built(version, job=jobs.get(tx, project, id=version.job_id))
        return self._up_to_date(collection, version) or self.of_version(project, name, id=id)

    def folders(self) -> dict[str, Path]:
        """Where the indexes lie that are open, by a key that closes them."""
        with self._lock:
            served = {key: known.served.version for key, known in self._open.items()}
        return {
            key: self._artifacts.collection_version_path(version.collection_id, version.folder)
            for key, version in served.items()
            if version is not None and version.folder is not None
        }

    def close(self, key: str) -> None:
        """The index is opened, and proven, when it is asked for again; searches in it come to their end."""
        with self._lock_of(key), self._lock:
            self._open.pop(key, None)

    def _up_to_date(self, collection: CollectionRecord, version: VersionRecord | None) -> Served | None:
        """The state with every write; None where there is another index by now, which holds more of them."""
        key = collection.id if version is None else _key(version)
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
            keys = _keys(tx, collection)
            if key not in keys:
                return None
            fingerprint = changes.fingerprint_of(tx, collection.id) if version is None else version.fingerprint
            if fingerprint != base.served.fingerprint:  # before there is a version, the model may have been replaced
                base = self._unchanged(collection, version)
            encoding = Encoding(model=base.served.model, fingerprint=fingerprint)
            foreign = brought.num_foreign(brought.of_collection(tx, collection.id), encoding)
            indexed = 0 if version is None else version.watermark
            written = changes.since(tx, collection.id, fingerprint=fingerprint, after=base.seen, indexed=indexed)
            counted = _Counted(written)
            live = base.served.live.with_changes(_as_changes(counted))
            if known is base and counted.num_late == collection.watermark - base.seen:
                pending = base.served.pending - counted.num_late  # nothing else has taken a number since
            else:
                pending = documents.pending(tx, collection, version=version)
        served = replace(base.served, collection=collection, fingerprint=fingerprint, live=live, pending=pending)
        served = replace(served, foreign=foreign)
        self._keep(key, _Open(served, collection.watermark), keys=keys)
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
            foreign=0,
        )
        return _Open(served, 0 if version is None else version.watermark)

    def _keep(self, key: str, found: _Open, *, keys: Container[str]) -> None:
        """The state stays open; `keys` are of those of its collection that can still be asked for, the others go."""
        with self._lock:
            self._open[key] = found
            self._open.move_to_end(key)
            id = found.served.collection.id
            gone = [one for one, other in self._open.items() if other.served.collection.id == id and one not in keys]
            kept = [one for one in self._open if one not in gone]
            for one in [*gone, *kept[: -self._max_open]]:
                del self._open[one]
                self._of_key.pop(one, None)

    def _load(self, collection: CollectionRecord, version: VersionRecord | None) -> "LiveIndex":
        """What is on disk, which is what was sealed; nothing where no index was made yet."""
        from infonce.live_index import LiveIndex, Main  # brings FAISS: not before the first query

        if version is None or version.folder is None:
            return LiveIndex.over(Main.empty(collection.dimension))
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


def _key(version: VersionRecord) -> str:
    return f"{version.id}/{version.folder}"


def _keys(tx: Tx, collection: CollectionRecord) -> set[str]:
    """Of the states in which the collection can be asked: its versions, or what was written before there is one."""
    found = {_key(one) for one in versions.of_collection(tx, collection.id)}
    return found if collection.active_version is not None else {*found, collection.id}


class _Counted:
    """Changes, of which those are counted that are vectors of documents which were pending."""

    def __init__(self, written: Iterable[ChangeRecord]) -> None:
        self.num_late = 0
        self._written = written

    def __iter__(self) -> Iterator[ChangeRecord]:
        for one in self._written:
            self.num_late += one.is_late
            yield one


def _as_changes(written: Iterable[ChangeRecord]) -> Iterator["Change"]:
    from infonce.live_index import Change

    for one in written:
        vector = None if one.vector is None else np.frombuffer(one.vector, dtype="<f4")
        yield Change(id=one.id, vector=vector, metadata=one.metadata)
