"""Live collections: from a query to hits with their texts, model and index always of one version."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from infonce.errors import IndexMismatch
from infonce.filters import keys_of
from service.asking import Asked, as_asked, grouped
from service.embedder import Embedder
from service.errors import ServiceError
from service.model_lookup import ModelLookup
from service.schemas.collections import CollectionQuery, Hit, Hits, QueryAnswer, QueryAnswers
from service.store import catalog, documents
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.errors import NotFound
from service.store.records import CollectionRecord, VersionRecord

if TYPE_CHECKING:
    from infonce import index
    from infonce.live_index import LiveIndex

MAX_OPEN = 8
"""How many indexes stay in memory; the least recently asked one goes first."""


class Search:
    """Answers queries from the active version of each collection."""

    def __init__(self, database: Database, artifacts: Artifacts, *, lookup: ModelLookup, embedder: Embedder) -> None:
        self._database = database
        self._artifacts = artifacts
        self._lookup = lookup
        self._embedder = embedder
        self._open: OrderedDict[str, LiveIndex] = OrderedDict()
        self._open_lock = threading.Lock()
        self._loading = threading.Lock()

    def query(self, project: str, name: str, *, asked: CollectionQuery) -> QueryAnswer | QueryAnswers:
        """The best hits of each query; none while no version of the collection is built yet.

        Raises:
            NotFound: no such collection, or no such document to look for the neighbours of.
            IndexMismatch: the vector has other dimensions, or the model changed since the index was built.
            ServiceError: a text query where the collection has no model.
            ArtifactCorrupt, IndexCorrupt: the index on disk is damaged.
        """
        with self._database.read() as tx:
            collection = catalog.get_collection(tx, project, name=name)
            active = collection.active_version
            version = None if active is None else catalog.get_version(tx, active)
            pending = documents.pending(tx, collection)
        queries = [as_asked(one) for one in asked.queries or [asked]]
        for one in queries:
            _check(collection, one)
        results = [Hits(hits=[]) for _ in queries] if version is None else self._results(collection, version, queries)
        told: dict[str, Any] = {
            "collection": collection.name,
            "version": None if version is None else version.id,
            "model": collection.model if version is None else version.model,
            "pending": pending,
        }
        if asked.queries is not None:
            return QueryAnswers(results=results, **told)
        [only] = results
        return QueryAnswer(hits=only.hits, warnings=only.warnings, **told)

    def _results(self, collection: CollectionRecord, version: VersionRecord, queries: Sequence[Asked]) -> list[Hits]:
        """What each query finds; those that differ in their vector alone are searched together."""
        live = self._live(version)
        vectors = self._vectors(collection.project, version, queries, live=live)
        found: list[index.Hits | None] = [None] * len(queries)
        for places in grouped(queries):
            first = queries[places[0]]
            block = live.search(vectors[places], first.width, asked=first.filter, exact=first.exact)
            for place, hits in zip(places, block, strict=True):
                found[place] = hits
        cut = [one.cut(hits) for one, hits in zip(queries, found, strict=True) if hits is not None]
        with self._database.read() as tx:
            records = documents.by_ids(tx, collection.id, ids=[id for hits in cut for id, _ in hits])
        known = live.keys() if any(one.filter is not None for one in queries) else set()
        return [
            Hits(
                hits=[
                    Hit(
                        id=id,
                        score=score,
                        text=records[id].text if "text" in one.include else None,
                        metadata=dict(records[id].metadata) if "metadata" in one.include else None,
                    )
                    for id, score in hits
                    if id in records
                ],
                warnings=_warnings(one, known),
            )
            for one, hits in zip(queries, cut, strict=True)
        ]

    def _vectors(
        self, project: str, version: VersionRecord, queries: Sequence[Asked], *, live: "LiveIndex"
    ) -> NDArray[np.float32]:
        """A vector for each query, all texts embedded at once; (n, D)."""
        vectors = np.empty((len(queries), version.dimension), dtype=np.float32)
        texts = {place: one.text for place, one in enumerate(queries) if one.text is not None}
        if texts:
            vectors[list(texts)] = self._embed(project, version, texts=list(texts.values()))
        for place, one in enumerate(queries):
            if one.vector is not None:
                vectors[place] = one.vector
            elif one.id is not None:
                there = live.vector(one.id)
                if there is None:
                    raise NotFound("searchable document", one.id[:80])
                vectors[place] = there
        return vectors

    def _embed(self, project: str, version: VersionRecord, *, texts: Sequence[str]) -> NDArray[np.float32]:
        """The texts' vectors by the version's own model; (n, D)."""
        assert version.model is not None, "a collection without a model refused the text before"
        embedded = self._embedder.embed(self._lookup.find(project, version.model), texts, side=Side.QUERY)
        if embedded.fingerprint != version.fingerprint:
            message = f"model {version.model} is not what it was when the index was built; index the documents again"
            raise IndexMismatch(message)
        return embedded.vectors

    def _live(self, version: VersionRecord) -> "LiveIndex":
        """The version's index, which is what was sealed; one that is in memory waits for no other that is read."""
        live = self._opened(version)
        if live is None:
            with self._loading:  # one at a time: what two ask for at once is read once
                live = self._opened(version) or self._load(version)
        return live

    def _opened(self, version: VersionRecord) -> "LiveIndex | None":
        with self._open_lock:
            live = self._open.get(version.id)
            if live is not None:
                self._open.move_to_end(version.id)
            return live

    def _load(self, version: VersionRecord) -> "LiveIndex":
        from infonce.live_index import LiveIndex, Main  # brings FAISS: not before the first query

        folder = self._artifacts.collection_version_path(version.collection_id, version.folder)
        self._artifacts.verify(folder)  # the manifest as well, which the index itself has to believe
        live = LiveIndex.over(Main.load(folder))
        with self._open_lock:
            self._open[version.id] = live
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return live


def _warnings(one: Asked, known: set[str]) -> list[str]:
    """A misspelt key finds nothing, and says so."""
    if one.filter is None:
        return []
    unknown = [key for key in dict.fromkeys(keys_of(one.filter)) if key not in known]
    return [f"no searchable document has the metadata key {key!r}" for key in unknown]


def _check(collection: CollectionRecord, asked: Asked) -> None:
    """Raise unless the collection can be asked this way."""
    if asked.text is not None and collection.model is None:
        message = f"collection {collection.name!r} has no model to embed a text with; send a vector"
        raise ServiceError("no_model", message, param="query")
    if asked.vector is not None and len(asked.vector) != collection.dimension:
        message = f"the vector has {len(asked.vector)} dimensions, collection {collection.name!r} has "
        raise IndexMismatch(message + str(collection.dimension))
