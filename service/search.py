"""From queries to hits with their texts: model, index and documents always of one version."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from infonce.errors import IndexMismatch
from service.asking import Asked, as_asked, grouped, warnings_of
from service.embedder import Embedder
from service.errors import ServiceError
from service.hybrid import Ranked, joined
from service.lanes import Embedded
from service.live_indexes import LiveIndexes, Served
from service.model_lookup import ModelLookup
from service.recall import Asked as Watched
from service.recall import RecallWatch
from service.schemas.collections import CollectionQuery, Hit, Hits, QueryAnswer, QueryAnswers
from service.shown import AnswerRoom, shown
from service.store.collection_records import CollectionRecord
from service.store.database import Database
from service.store.errors import NotFound

_QUERIES_A_THREAD: Final = 16
"""5 ms of a graph of 100,000: much more than what it takes to wake a thread."""

Seconds = Mapping[str, float]
"""By stage: those of embedding the texts, and search, which is the index and the documents found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer, and the seconds of its stages."""

    answer: QueryAnswer | QueryAnswers
    seconds: Seconds


class Search:
    """Answers queries from the active version of each collection, and what was written since."""

    def __init__(
        self,
        database: Database,
        indexes: LiveIndexes,
        *,
        lookup: ModelLookup,
        embedder: Embedder,
        recall: RecallWatch,
        num_threads: int = 1,
    ) -> None:
        """`num_threads`: that may work on the queries of one call."""
        self._database = database
        self._num_threads = num_threads
        self._recall = recall
        self._lookup = lookup
        self._embedder = embedder
        self.indexes = indexes

    def query(self, project: str, name: str, *, asked: CollectionQuery) -> Answered:
        """The best hits of each query, and what they took.

        Raises:
            NotFound: no such collection, or no such document to look for the neighbours of.
            IndexMismatch: the vector has other dimensions, or the model changed since the index was built.
            ServiceError: a text query where the collection has no model, a hybrid one where there are no words, or an
                answer that would be too large.
            ArtifactCorrupt, IndexCorrupt: the index on disk is damaged.
        """
        served = self.indexes.current(project, name)
        queries = [as_asked(one) for one in asked.queries or [asked]]
        for one in queries:
            _check(served.collection, one)
        results, seconds = self._results(served, queries, room=AnswerRoom())
        told: dict[str, Any] = {
            "collection": served.collection.name,
            "version": None if served.version is None else served.version.id,
            "model": served.model,
            "pending": served.pending,
        }
        if asked.queries is not None:
            return Answered(answer=QueryAnswers(results=results, **told), seconds=seconds)
        [only] = results
        return Answered(answer=QueryAnswer(hits=only.hits, warnings=only.warnings, **told), seconds=seconds)

    def close(self) -> None:
        """Nothing more is compared beside what is answered."""
        self._recall.close()

    def texts(self, served: Served, texts: Sequence[str], *, k: int, room: AnswerRoom) -> list[list[Hit]]:
        """The hits of each text in that state of the collection.

        Raises:
            ServiceError: the collection has no model, or the hits have no place in the answer.
        """
        queries = [as_asked(CollectionQuery(query=text, k=k)) for text in texts]
        for one in queries:
            _check(served.collection, one)
        results, _ = self._results(served, queries, room=room)
        return [found.hits for found in results]

    def _results(self, served: Served, queries: Sequence[Asked], *, room: AnswerRoom) -> tuple[list[Hits], Seconds]:
        """What each query finds; those that differ in their vector alone are searched together."""
        vectors, seconds = self._vectors(served, queries)
        began = time.perf_counter()
        found: list[Ranked] = [[] for _ in queries]
        for places in grouped(queries):
            first = queries[places[0]]
            with self._threads_for(len(places)):
                block = served.live.search(vectors[places], first.width, asked=first.filter, exact=first.exact)
            ranked = [list(zip(hits.ids, hits.scores, strict=True)) for hits in block]
            if first.hybrid is not None:
                ranked = joined(served, [queries[place] for place in places], dense=ranked)
            for place, hits, pairs in zip(places, block, ranked, strict=True):
                found[place] = pairs
                if first.hybrid is None:  # which looks 1,000 deep, and would hide what the others miss
                    asked = Watched(
                        live=served.live, vector=vectors[place], k=first.width, filter=first.filter, hits=hits
                    )
                    self._recall.offer(asked)
        cut = [one.cut(hits) for one, hits in zip(queries, found, strict=True)]
        with self._database.read() as tx:
            told = shown(tx, served.collection.id, queries=queries, found=cut, room=room)
        filters = {one.filter_text: one.filter for one in queries}
        warnings = {text: [*served.warnings, *warnings_of(served.live, asked)] for text, asked in filters.items()}
        results = [Hits(hits=hits, warnings=warnings[one.filter_text]) for one, hits in zip(queries, told, strict=True)]
        return results, {**seconds, "search": time.perf_counter() - began}

    @contextmanager
    def _threads_for(self, num_queries: int) -> Iterator[None]:
        """Many queries at once are searched on several cores, by the threads that FAISS has for this one."""
        import faiss  # brought by the index that is searched, not before

        threads = min(self._num_threads, num_queries // _QUERIES_A_THREAD)
        if threads < 2:  # as every thread begins
            yield
            return
        faiss.omp_set_num_threads(threads)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(1)

    def _vectors(self, served: Served, queries: Sequence[Asked]) -> tuple[NDArray[np.float32], Seconds]:
        """A vector for each query, all texts embedded at once, (n, D), and what that took."""
        vectors = np.empty((len(queries), served.collection.dimension), dtype=np.float32)
        texts = {place: one.text for place, one in enumerate(queries) if one.text is not None}
        seconds: Seconds = {}
        if texts and served.live.count:
            embedded = self._embed(served, texts=list(texts.values()))
            vectors[list(texts)], seconds = embedded.vectors, embedded.seconds
        elif texts:  # nothing can be found, and a model need not be loaded to say so
            vectors[list(texts)] = 0.0
        for place, one in enumerate(queries):
            if one.vector is not None:
                vectors[place] = one.vector
            elif one.id is not None:
                there = served.live.vector(one.id)
                if there is None:
                    raise NotFound("searchable document", one.id[:80])
                vectors[place] = there
        return vectors, seconds

    def embed_documents(self, collection: CollectionRecord, texts: Sequence[str]) -> tuple[str, NDArray[np.float32]]:
        """The fingerprint of the collection's model, and the texts' vectors; (n, D).

        Raises:
            IndexMismatch: the model is not what it was when the index was built.
        """
        assert collection.model is not None, "a text was refused before"
        found = self._lookup.find(collection.project, collection.model)
        embedded = self._embedder.embed(found, texts, side=Side.DOCUMENT)
        return embedded.fingerprint, embedded.vectors

    def _embed(self, served: Served, *, texts: Sequence[str]) -> Embedded:
        """The texts' vectors by the version's own model; (n, D)."""
        model = served.model
        assert model is not None, "a collection without a model refused the text before"
        embedded = self._embedder.embed(self._lookup.find(served.collection.project, model), texts, side=Side.QUERY)
        if served.fingerprint is not None and embedded.fingerprint != served.fingerprint:
            message = f"model {model} is not what it was when the index was built; index the documents again"
            raise IndexMismatch(message)
        return embedded


def _check(collection: CollectionRecord, asked: Asked) -> None:
    """Raise unless the collection can be asked this way."""
    if asked.text is not None and collection.model is None:
        remedy = "send a vector" if asked.hybrid is None else "send a vector, without hybrid"
        message = f"collection {collection.name!r} has no model to embed a text with; {remedy}"
        raise ServiceError("no_model", message, param="query")
    if asked.vector is not None and len(asked.vector) != collection.dimension:
        message = f"the vector has {len(asked.vector)} dimensions, collection {collection.name!r} has "
        raise IndexMismatch(message + str(collection.dimension))
