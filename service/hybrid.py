"""Hybrid queries: what the vectors find and what the words find, joined to one ranking."""

from collections.abc import Sequence

from infonce.fusion import fuse
from service.asking import HYBRID_DEPTH, Asked
from service.live_indexes import Served

Ranked = list[tuple[str, float]]
"""Ids and scores, best first."""


def joined(served: Served, queries: Sequence[Asked], *, dense: Sequence[Ranked]) -> list[Ranked]:
    """What each query finds by both; all have the same filter, and `dense` is what their vectors found.

    Raises:
        ServiceError: the version, or every document of the collection, has no words.
        ArtifactCorrupt, IndexCorrupt: the words on disk are damaged.
    """
    if not served.live.count:
        return [[] for _ in queries]
    texts = [one.text for one in queries if one.text is not None]
    assert len(texts) == len(queries), "the body was checked"
    words = served.words.of(served.live).search(texts, HYBRID_DEPTH, live=served.live, asked=queries[0].filter)
    found = []
    for one, near, said in zip(queries, dense, words, strict=True):
        assert one.hybrid is not None, "it was chosen for that"
        found.append(fuse(dict(near), dict(zip(said.ids, said.scores, strict=True)), fusion=one.hybrid))
    return found
