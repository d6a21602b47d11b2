"""Vectors that clients brought: how many a collection has, and by which model it answered when they came.

No other model can make them anew. A row of the table is a stretch of a collection's sequence numbers, up to the next
row's, in which vectors came while it answered by one model: so the number of a document tells whose its vector may be.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from service.store.answering import Encoding, answering
from service.store.change_tables import brought_vectors as table
from service.store.database import Tx
from service.store.tables import documents


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Vectors that came one after another for one model."""

    since: int
    """The first sequence number."""
    encoding: Encoding
    """By which the collection answered."""
    count: int
    """Of its documents that are still there with their vectors."""


_COLUMNS: Final = [table.c[name] for name in ("collection_id", "since", "model", "fingerprint", "count")]
_STRETCHES: Final = (  # made once, as what follows: to make a statement takes longer than to ask it
    sa.select(*_COLUMNS).where(table.c.collection_id.in_(sa.bindparam("ids", expanding=True))).order_by(table.c.since)
)
_MORE: Final = (
    sa.update(table)
    .where(table.c.collection_id == sa.bindparam("of"), table.c.since == sa.bindparam("at"))
    .values(count=table.c.count + sa.bindparam("num"), fingerprint=sa.bindparam("known"))
)
START_OF_STRETCH: Final = (
    sa.select(sa.func.max(table.c.since))
    .where(table.c.collection_id == documents.c.collection_id, table.c.since <= documents.c.sequence)
    .correlate(documents)
    .scalar_subquery()
)
"""Of a document's row: where the stretch begins that its vector, if it brought one, is counted in."""


def of_collection(tx: Tx, id: str) -> list[Stretch]:
    """In the order of the numbers; there are few."""
    return of_collections(tx, [id])[id]


def of_collections(tx: Tx, ids: Sequence[str]) -> dict[str, list[Stretch]]:
    """As `of_collection`, of each of them."""
    found: dict[str, list[Stretch]] = {id: [] for id in ids}
    for id, since, model, fingerprint, num in tx.execute(_STRETCHES, {"ids": ids}):
        found[id].append(Stretch(since=since, encoding=Encoding(model=model, fingerprint=fingerprint), count=num))
    return found


def encoding_of(stretches: Sequence[Stretch], sequence: int) -> Encoding:
    """For which model the document brought its vector that was written under that number."""
    return stretches[bisect_right(stretches, sequence, key=lambda one: one.since) - 1].encoding


def num_foreign(stretches: Iterable[Stretch], encoding: Encoding) -> int:
    """How many documents brought their vectors while another model answered."""
    return sum(one.count for one in stretches if one.encoding.differs(encoding))


def let_go(tx: Tx, collection_id: str, *, gone: Mapping[int, int]) -> None:
    """So many documents fewer have their vectors, by where their stretches begin; the collection is locked."""
    here = table.c.collection_id == collection_id
    for since, num in gone.items():
        fewer = sa.update(table).where(here, table.c.since == since)
        tx.execute(fewer.values(count=table.c.count - num))
    if gone:
        tx.execute(sa.delete(table).where(here, table.c.count == 0))


def take_in(tx: Tx, collection_id: str, *, num: int, since: int, encoding: Encoding | None = None) -> None:
    """So many documents that were written from that number on brought their vectors; the collection is locked.

    For the model by which it answers, unless another one is known.
    """
    if num == 0:
        return
    now = answering(tx, [collection_id])[collection_id].encoding if encoding is None else encoding
    last = next(reversed(of_collection(tx, collection_id)), None)
    if last is None or last.encoding.differs(now):
        told = {"model": now.model, "fingerprint": now.fingerprint}
        tx.execute(sa.insert(table).values(collection_id=collection_id, since=since, count=num, **told))
        return
    known = last.encoding.fingerprint or now.fingerprint  # of a model that had embedded nothing when the first came
    tx.execute(_MORE, {"of": collection_id, "at": last.since, "num": num, "known": known})
