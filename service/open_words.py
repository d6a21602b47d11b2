"""The words of an open collection, for hybrid queries: read when the first one comes, then kept up with the writes."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.errors import ServiceError
from service.repairs import Repairs
from service.store import documents
from service.store.artifacts import Artifacts
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database

if TYPE_CHECKING:
    from infonce.live_index import LiveIndex
    from infonce.live_words import LiveWords


class OpenWords:
    """Of one version's index and all that is told as a change beside it, in the order in which it was told."""

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        *,
        collection: CollectionRecord,
        version: VersionRecord | None,
        repairs: Repairs,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._collection = collection
        self._version = version
        self._repairs = repairs
        self._words: LiveWords | None = None
        self._lock = threading.Lock()

    def of(self, live: "LiveIndex") -> "LiveWords":
        """Those of every document of that state, which is one of the index that these words belong to.

        Raises:
            ServiceError: the version was built by a program that kept no words (`no_words`), or no document has any
                (`no_texts`).
            ArtifactCorrupt, IndexCorrupt: the words on disk are damaged.
        """
        with self._lock:  # one at a time: rows are added in their order, and what two ask for at once is read once
            with self._repairs.watching(self._collection, self._version):
                words = self._words = self._words or self._load(live)
            missing = range(len(words.newer), len(live.newer.ids))
            if missing:
                words.newer.add(self._texts([live.newer.ids[row] for row in missing]))
        if words.is_wordless(live):
            name = self._collection.name
            message = (
                f"no document of collection {name!r} has a text with a word in it; leave hybrid out, or send texts"
            )
            raise ServiceError("no_texts", message, param="hybrid")
        return words

    def _load(self, live: "LiveIndex") -> "LiveWords":
        """What is on disk, which is what was sealed."""
        from infonce.bm25 import Bm25Index  # imports bm25s: not before the first hybrid query
        from infonce.errors import IndexCorrupt
        from infonce.live_words import WORDS_FOLDER, LiveWords

        if self._version is None or self._version.folder is None:
            return LiveWords(main=Bm25Index.build([]))
        folder = self._artifacts.collection_version_path(self._collection.id, self._version.folder)
        part = f"{WORDS_FOLDER}/"
        self._artifacts.verify(folder, part=part)
        if not any(name.startswith(part) for name in self._artifacts.sealed_files(folder)):
            told = f"version {self._version.id} was built before there were hybrid queries and has no words; order"
            remedy = f"another one with POST /v1/collections/{self._collection.name}/versions and promote it"
            raise ServiceError("no_words", f"{told} {remedy}", param="hybrid")
        main = Bm25Index.load(folder / WORDS_FOLDER)
        if main.count != live.main.index.count:
            raise IndexCorrupt(f"the words in {folder.name} are not of this index; rebuild the index")
        return LiveWords(main=main)

    def _texts(self, ids: Sequence[str]) -> list[str]:
        """As they are stored now: what has been replaced or deleted since is told as a later change."""
        with self._database.read() as tx:
            found = documents.texts_of(tx, self._collection.id, ids=ids)
        return [found.get(id) or "" for id in ids]
