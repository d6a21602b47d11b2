"""Documents that are nearly the same, found a window at a time: each document asks for its neighbours.

The windows go by the ids in the database, so that neither a write nor another version between two of them leaves a
document out.
"""

from typing import Final

import numpy as np

from service.live_indexes import LiveIndexes
from service.schemas.duplicates import Duplicate, Duplicates, DuplicatesFind
from service.store import documents
from service.store.database import Database

MAX_NEIGHBOURS: Final = 100
"""Of a document: of more near duplicates the nearest are told."""

MAX_LOOKED_AT: Final = 2_000
"""Documents a window: about a second for 100,000 vectors that are compared one by one."""

_AT_ONCE: Final = 250


def find_duplicates(
    database: Database, indexes: LiveIndexes, *, project: str, name: str, asked: DuplicatesFind
) -> Duplicates:
    """The pairs of a window, each by the smaller id.

    Raises:
        NotFound: no such collection.
        ArtifactCorrupt, IndexCorrupt: the index on disk is damaged.
    """
    served = indexes.current(project, name)
    found: list[Duplicate] = []
    after, more, looked_at = asked.after, True, 0
    while more and len(found) < asked.limit and looked_at < MAX_LOOKED_AT:
        with database.read() as tx:
            ids, more = documents.page_ids(tx, served.collection.id, after=after, limit=_AT_ONCE)
        vectors = {id: vector for id in ids if (vector := served.live.vector(id)) is not None}
        hits = served.live.search(np.stack(list(vectors.values())), MAX_NEIGHBOURS + 1) if vectors else []
        for id, near in zip(vectors, hits, strict=True):
            pairs = zip(near.ids, near.scores, strict=True)
            found += [
                Duplicate(id=id, other=other, score=score)
                for other, score in pairs
                if other > id and score >= asked.threshold
            ]
        after, looked_at = ids[-1] if ids else after, looked_at + len(ids)
    return Duplicates(data=found, looked_at=looked_at, has_more=more, last_id=after)
