"""By which model collections answer, and how far the index reaches that they search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from service.store.change_tables import document_vectors
from service.store.database import Tx
from service.store.tables import collections, versions


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """Which model vectors are compared by: the same name may stand for other weights, and two names for the same."""

    model: str | None
    """None where all vectors are the clients'."""
    fingerprint: str | None
    """None where nothing was embedded by it yet."""

    def differs(self, other: "Encoding") -> bool:
        """Whether vectors of the one say nothing to queries of the other, as far as it is known."""
        if self.fingerprint is not None and other.fingerprint is not None:
            return self.fingerprint != other.fingerprint
        return self.model != other.model


@dataclass(frozen=True, kw_only=True, slots=True)
class Answering:
    """What a collection answers by."""

    encoding: Encoding
    searchable: int
    """The newest document write that its index contains; 0 where it has none."""


def answering(tx: Tx, ids: Sequence[str]) -> dict[str, Answering]:
    """By the ids of those of the collections that exist."""
    return {
        id: Answering(encoding=Encoding(model=model, fingerprint=fingerprint), searchable=searchable)
        for id, model, fingerprint, searchable in tx.execute(_STATES, {"ids": ids})
    }


def _states() -> sa.Select[Any]:
    last = sa.select(document_vectors.c.fingerprint).where(document_vectors.c.collection_id == collections.c.id)
    last = last.order_by(document_vectors.c.sequence.desc()).limit(1)  # of what is found before there is an index
    known = sa.case((versions.c.id.is_(None), last.scalar_subquery()), else_=versions.c.fingerprint)
    state = sa.select(collections.c.id, collections.c.model, known, sa.func.coalesce(versions.c.watermark, 0))
    state = state.outerjoin_from(collections, versions, versions.c.id == collections.c.active_version)
    return state.where(collections.c.id.in_(sa.bindparam("ids", expanding=True)))


_STATES: Final = _states()
"""Made once: to make it takes longer than to ask it."""
