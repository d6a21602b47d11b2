"""Two versions of a collection side by side: what each finds, how much of it both find, and what moved."""

from collections.abc import Mapping, Sequence

from service.live_indexes import Served
from service.schemas.collections import Hit
from service.schemas.versions import Compare, ComparedQuery, Comparison, RankMove
from service.search import Search
from service.shown import AnswerRoom


def compare(search: Search, project: str, *, name: str, asked: Compare) -> Comparison:
    """Both versions' hits for every query.

    Raises:
        NotFound: no such collection or version.
        Conflict: a version is still being built (`not_ready`).
        ServiceError: a version has no model to embed a text with (`no_model`), or the hits of both are too much for
            an answer (`answer_too_large`).
    """
    served = [search.indexes.of_version(project, name, id=id) for id in (asked.a, asked.b)]
    room = AnswerRoom()
    found = [search.texts(one, asked.queries, k=asked.k, room=room) for one in served]
    results = [_query(text, a, b=b) for text, a, b in zip(asked.queries, *found, strict=True)]
    return Comparison(
        collection=_name(served),
        a=asked.a,
        b=asked.b,
        k=asked.k,
        pending_a=served[0].pending,
        pending_b=served[1].pending,
        warnings=list(dict.fromkeys(warning for one in served for warning in one.warnings)),
        mean_overlap=sum(one.overlap for one in results) / len(results),
        results=results,
    )


def _query(text: str, a: Sequence[Hit], *, b: Sequence[Hit]) -> ComparedQuery:
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    both = [id for id in ranks_a if id in ranks_b]
    moves = [
        RankMove(id=id, rank_a=ranks_a.get(id), rank_b=ranks_b.get(id))
        for id in dict.fromkeys([*ranks_a, *ranks_b])
        if ranks_a.get(id) != ranks_b.get(id)
    ]
    outside = max(len(a), len(b)) + 1
    moves.sort(key=lambda one: -abs((one.rank_a or outside) - (one.rank_b or outside)))
    longest = max(len(a), len(b))
    return ComparedQuery(query=text, a=list(a), b=list(b), overlap=len(both) / longest if longest else 1.0, moves=moves)


def _ranks(hits: Sequence[Hit]) -> Mapping[str, int]:
    return {hit.id: rank for rank, hit in enumerate(hits, start=1)}


def _name(served: Sequence[Served]) -> str:
    return served[0].collection.name
