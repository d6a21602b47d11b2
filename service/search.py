"""Live collections: from a query to hits with their texts, model and index always of one version."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infonce.config import Side
from infonce.errors import IndexMismatch
from service.embedder import Embedder
from service.errors import ServiceError
from service.lanes import Embedded
from service.model_lookup import ModelLookup
from service.schemas.collections import CollectionQuery, Hit, QueryAnswer
from service.store import catalog, documents
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.records import CollectionRecord, VersionRecord

if TYPE_CHECKING:
    from infonce.index import VectorIndex

MAX_OPEN = 8
"""How many indexes stay in memory; the least recently asked one goes first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The hits of one query, best first."""

    hits: list[Hit] = field(default_factory=list)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: those of embedding the text, and search, which is the index and the documents found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer, and the seconds of its stages."""

    answer: QueryAnswer
    seconds: Mapping[str, float]


class Search:
    """Answers queries from the active version of each collection."""

    def __init__(self, database: Database, artifacts: Artifacts, *, lookup: ModelLookup, embedder: Embedder) -> None:
        self._database = database
        self._artifacts = artifacts
        self._lookup = lookup
        self._embedder = embedder
        self._open: OrderedDict[str, VectorIndex] = OrderedDict()
        self._open_lock = threading.Lock()
        self._loading = threading.Lock()

    def query(self, project: str, name: str, *, asked: CollectionQuery) -> Answered:
        """The best hits, and what they took; none while no version of the collection is built yet.

        Raises:
            NotFound: no such collection.
            IndexMismatch: the vector has other dimensions, or the model changed since the index was built.
            ServiceError: a text query where the collection has no model.
            ArtifactCorrupt, IndexCorrupt: the index on disk is damaged.
        """
        with self._database.read() as tx:
            collection = catalog.get_collection(tx, project, name=name)
            active = collection.active_version
            version = None if active is None else catalog.get_version(tx, active)
            pending = documents.pending(tx, collection)
        _check(collection, asked)
        found = Found() if version is None else self._found(collection, version, asked=asked)
        answer = QueryAnswer(
            hits=found.hits,
            collection=collection.name,
            version=None if version is None else version.id,
            model=collection.model if version is None else version.model,
            pending=pending,
        )
        return Answered(answer=answer, seconds=found.seconds)

    def _found(self, collection: CollectionRecord, version: VersionRecord, *, asked: CollectionQuery) -> Found:
        index = self._index(version)
        vector, seconds = asked.vector, dict[str, float]()
        if vector is None:
            embedded = self._embed(collection.project, version, text=str(asked.query))
            vector, seconds = embedded.vectors[0], embedded.seconds
        began = time.perf_counter()
        found = index.search(vector[None, :], asked.k)[0]
        with self._database.read() as tx:
            records = documents.by_ids(tx, collection.id, ids=found.ids)
        hits = [
            Hit(
                id=id,
                score=score,
                text=records[id].text if "text" in asked.include else None,
                metadata=dict(records[id].metadata) if "metadata" in asked.include else None,
            )
            for id, score in zip(found.ids, found.scores, strict=True)
            if id in records
        ]
        return Found(hits=hits, seconds={**seconds, "search": time.perf_counter() - began})

    def _embed(self, project: str, version: VersionRecord, *, text: str) -> Embedded:
        """The text's vector by the version's own model."""
        assert version.model is not None, "a collection without a model refused the text before"
        embedded = self._embedder.embed(self._lookup.find(project, version.model), [text], side=Side.QUERY)
        if embedded.fingerprint != version.fingerprint:
            message = f"model {version.model} is not what it was when the index was built; index the documents again"
            raise IndexMismatch(message)
        return embedded

    def _index(self, version: VersionRecord) -> "VectorIndex":
        """The version's index, which is what was sealed; one that is in memory waits for no other that is read."""
        index = self._opened(version)
        if index is None:
            with self._loading:  # one at a time: what two ask for at once is read once
                index = self._opened(version) or self._load(version)
        return index

    def _opened(self, version: VersionRecord) -> "VectorIndex | None":
        with self._open_lock:
            index = self._open.get(version.id)
            if index is not None:
                self._open.move_to_end(version.id)
            return index

    def _load(self, version: VersionRecord) -> "VectorIndex":
        from infonce.index import VectorIndex  # brings FAISS: not before the first query

        folder = self._artifacts.collection_version_path(version.collection_id, version.folder)
        self._artifacts.verify(folder)  # the manifest as well, which the index itself has to believe
        index = VectorIndex.load(folder)
        with self._open_lock:
            self._open[version.id] = index
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return index


def _check(collection: CollectionRecord, asked: CollectionQuery) -> None:
    """Raise unless the collection can be asked this way."""
    if asked.query is not None and collection.model is None:
        message = f"collection {collection.name!r} has no model to embed a text with; send a vector"
        raise ServiceError("no_model", message, param="query")
    if asked.vector is not None and len(asked.vector) != collection.dimension:
        message = f"the vector has {len(asked.vector)} dimensions, collection {collection.name!r} has "
        raise IndexMismatch(message + str(collection.dimension))
