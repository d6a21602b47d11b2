"""Hybrid queries: what the vectors find and what the words find, joined to one ranking."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infonce.fusion import fuse
from service.asking import HYBRID_DEPTH, Asked
from service.live_indexes import Served

if TYPE_CHECKING:
    from infonce.index import Hits


def joined(served: Served, queries: Sequence[Asked], *, dense: Sequence["Hits"]) -> list[list[tuple[str, float]]]:
    """What each query finds by both, best first; all have the same filter, and `dense` is what their vectors found.

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
        by_vector, by_word = (dict(zip(hits.ids, hits.scores, strict=True)) for hits in (near, said))
        found.append(fuse(by_vector, by_word, fusion=one.hybrid))
    return found
