"""Collections on their way in: nobody's, and so asked for by nobody, until all of their documents are stored.

One transaction for a million documents would shut out every other writer for a minute. So they come in many, into a
collection of no project; the last transaction gives it to its project under its name. What a process that died left
on the way is given up after a while, and from then on can never be anybody's.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from service.store import catalog, documents
from service.store.answering import Encoding
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.documents import NewDocument
from service.store.errors import Conflict
from service.store.tables import collections

ARRIVING: Final = "(arriving)"
GIVEN_UP: Final = "(given up)"
"""No project can be named so."""

SILENT_SECONDS: Final = 15 * 60.0
"""After the last write; each takes tens of milliseconds."""


def begin(tx: Tx, collection: CollectionRecord, *, now: float) -> CollectionRecord:
    """The collection as it takes in documents; `collection` is what it will be."""
    arriving = replace(collection, project=ARRIVING, name=collection.id, created_at=now)
    catalog.insert_collection(tx, arriving, model_follows=True)
    return arriving


def take_in(
    tx: Tx,
    arriving: CollectionRecord,
    *,
    taken: Sequence[NewDocument],
    embedded: Embedded | None,
    now: float,
    brought_for: Encoding | None = None,
) -> None:
    """The documents are stored, and the collection has shown a sign of life.

    `brought_for`: for which model the vectors came that are the clients'; the collection's, if nothing is said.

    Raises:
        Conflict: it was given up, or an id comes twice (`duplicate_id`).
    """
    alive = sa.update(collections).where(collections.c.id == arriving.id, collections.c.project == ARRIVING)
    if tx.execute(alive.values(created_at=now)).rowcount == 0:
        raise _given_up()
    documents.upsert(tx, arriving, documents=taken, embedded=embedded, brought_for=brought_for)


def finish(tx: Tx, collection: CollectionRecord) -> CollectionRecord:
    """The collection is its project's, whole.

    Raises:
        NotFound: its model is gone.
        Conflict: the project has a collection of that name by now (`name_taken`), or this one was given up.
    """
    require_free(tx, collection.project, name=collection.name)
    if collection.model is not None:
        catalog.hold_models(tx, collection.project, names=[collection.model])
    own = sa.update(collections).where(collections.c.id == collection.id, collections.c.project == ARRIVING)
    values = {"project": collection.project, "name": collection.name, "created_at": collection.created_at}
    if tx.execute(own.values(**values)).rowcount == 0:
        raise _given_up()
    return catalog.get_collection(tx, collection.project, name=collection.id)


def require_free(tx: Tx, project: str, *, name: str) -> None:
    """Raise `Conflict` (`name_taken`) where the project has a collection of that name."""
    taken = sa.select(collections.c.id).where(collections.c.project == project, collections.c.name == name)
    if tx.execute(taken).first() is not None:
        raise Conflict("name_taken", f"A collection named {name!r} exists; choose another name")


def give_up(tx: Tx, id: str, *, before: float) -> CollectionRecord | None:
    """The collection, which can never be finished now; None where it is no such, or showed life since then."""
    silent = sa.and_(collections.c.project == ARRIVING, collections.c.created_at <= before)
    fits = sa.and_(collections.c.id == id, sa.or_(silent, collections.c.project == GIVEN_UP))
    if tx.execute(sa.update(collections).where(fits).values(project=GIVEN_UP)).rowcount == 0:
        return None
    return catalog.get_collection(tx, GIVEN_UP, name=id)


def overdue(tx: Tx, *, now: float) -> list[str]:
    """The ids of those that have been silent for too long, and of those given up of which something is left."""
    silent = sa.and_(collections.c.project == ARRIVING, collections.c.created_at <= now - SILENT_SECONDS)
    found = sa.select(collections.c.id).where(sa.or_(silent, collections.c.project == GIVEN_UP))
    return list(tx.execute(found).scalars())


def _given_up() -> Conflict:
    message = f"The import was silent for {SILENT_SECONDS / 60:.0f} minutes and was given up; bring the file again"
    return Conflict("conflict", message)
