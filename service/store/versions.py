"""The versions of a collection: which model and index it has, had, or is to have.

A version keeps its id while index jobs renew its folder, for what changes then is how far its index reaches and
nothing that a caller could tell. A collection answers by one version at a time; the one before can be returned to.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from service.store import changes
from service.store.change_tables import deletions, document_vectors
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord, VersionRecord, VersionStatus
from service.store.database import Tx
from service.store.errors import NotFound
from service.store.paging import window
from service.store.records import JobKind, JobStatus, Page, new_id
from service.store.tables import collections, documents, jobs, record_of, repeats, values_of, versions


def insert(tx: Tx, version: VersionRecord) -> None:
    """The version exists; it answers nothing yet."""
    tx.execute(sa.insert(versions).values(values_of(version, versions)))


def get(tx: Tx, collection_id: str, *, id: str) -> VersionRecord:
    """The version.

    Raises:
        NotFound: the collection has none of that id.
    """
    query = sa.select(versions).where(versions.c.collection_id == collection_id, versions.c.id == id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound("version", id)
    return record_of(VersionRecord, row)


def of_collection(tx: Tx, collection_id: str) -> list[VersionRecord]:
    """All versions of the collection, newest first; there are few."""
    query = sa.select(versions).where(versions.c.collection_id == collection_id)
    rows = tx.execute(query.order_by(versions.c.created_at.desc(), versions.c.id.desc()))
    return [record_of(VersionRecord, row) for row in rows]


def page_versions(tx: Tx, collection_id: str, *, page: Page) -> tuple[list[VersionRecord], bool]:
    """A window of the collection's versions, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(versions).where(versions.c.collection_id == collection_id)
    rows, more = window(tx, query, table=versions, page=page)
    return [record_of(VersionRecord, row) for row in rows], more


def renew(tx: Tx, id: str, *, built: VersionRecord) -> bool:
    """The version has the index that was built, unless the one it has reaches further or is of another model.

    Two jobs may build an index of one version and end in either order; what can be found never goes back.
    """
    row = tx.execute(sa.select(versions).where(versions.c.id == id).with_for_update()).one_or_none()
    if row is None or row.model != built.model:
        return False
    if row.status is VersionStatus.READY and row.watermark > built.watermark:
        return False
    names = ("folder", "fingerprint", "count", "watermark", "num_bytes", "job_id", "built_index")
    values = {name: getattr(built, name) for name in names}
    tx.execute(sa.update(versions).where(versions.c.id == id).values(status=VersionStatus.READY, **values))
    return True


def activate(tx: Tx, collection: CollectionRecord, *, version: VersionRecord, now: float) -> None:
    """The collection answers by this version's model and index alone, and can return to the one before.

    Before its first version that is what it answered by without any, if that was another model. Versions that
    answered before that one are gone: only the last step can be taken back. No other one is wanted.
    """
    want(tx, collection.id, id=None)
    if collection.active_version == version.id:
        return
    previous = collection.active_version
    if previous is None and collection.model != version.model:
        previous = _insert_first_state(tx, collection)
    moved = sa.update(collections).where(collections.c.id == collection.id)
    values = {"active_version": version.id, "previous_version": previous}
    tx.execute(moved.values(model=version.model, asked_index=version.asked_index, **values))
    tx.execute(sa.update(versions).where(versions.c.id == version.id).values(activated_at=now))
    kept = [id for id in (version.id, previous) if id is not None]
    old = sa.and_(versions.c.collection_id == collection.id, versions.c.activated_at.is_not(None))
    tx.execute(sa.delete(versions).where(old, versions.c.id.not_in(kept)))


def _insert_first_state(tx: Tx, collection: CollectionRecord) -> str:
    """The id of a version that answers as the collection does without any: all that it finds is beside an index."""
    version = VersionRecord(
        id=new_id("ver"),
        collection_id=collection.id,
        created_at=collection.created_at,
        model=collection.model,
        fingerprint=changes.fingerprint_of(tx, collection.id),
        dimension=collection.dimension,
        count=0,
        watermark=0,
        folder=None,
        job_id=None,
        activated_at=collection.created_at,
        asked_index=collection.asked_index,
    )
    insert(tx, version)
    return version.id


def learn(tx: Tx, id: str, *, fingerprint: str) -> None:
    """The version's model is that encoder: nothing was embedded by it before, and nothing told."""
    unknown = sa.and_(versions.c.id == id, versions.c.fingerprint.is_(None))
    tx.execute(sa.update(versions).where(unknown).values(fingerprint=fingerprint))


def want(tx: Tx, collection_id: str, *, id: str | None) -> None:
    """The collection is to move to that version as soon as it lacks nothing, unless it moves to another one before."""
    tx.execute(sa.update(collections).where(collections.c.id == collection_id).values(wanted_version=id))


def delete(tx: Tx, collection: CollectionRecord, *, id: str) -> None:
    """The version is gone; its folder goes with the next `infonce gc`."""
    tx.execute(sa.delete(versions).where(versions.c.collection_id == collection.id, versions.c.id == id))
    unset = sa.update(collections).where(collections.c.id == collection.id, collections.c.previous_version == id)
    tx.execute(unset.values(previous_version=None))
    unwanted = sa.update(collections).where(collections.c.id == collection.id, collections.c.wanted_version == id)
    tx.execute(unwanted.values(wanted_version=None))
    held = sa.and_(repeats.c.project == collection.project, repeats.c.object_id == id)
    tx.execute(sa.delete(repeats).where(held))  # it may come again


def keep_early_vectors(
    tx: Tx, collection_id: str, *, model: str, embedded: Embedded, made_of: Mapping[str, int]
) -> int:
    """Vectors of an index that is being made are known, where the collection answers by the same model; how many.

    Those of documents that were written anew since the sequence numbers of `made_of`, or are gone, are left out.
    """
    locked = sa.select(collections).where(collections.c.id == collection_id).with_for_update()
    row = tx.execute(locked).one_or_none()  # from here on nobody moves it to another model
    if row is None or row.model != model:
        return 0
    if row.active_version is None:
        is_same = changes.fingerprint_of(tx, collection_id) in (None, embedded.fingerprint)
    else:
        is_same = get(tx, collection_id, id=row.active_version).fingerprint == embedded.fingerprint
    return changes.make_known(tx, collection_id, embedded=embedded, made_of=made_of) if is_same else 0


def forget_changes(tx: Tx, collection_id: str, *, at_most: int = 5_000) -> bool:
    """Vectors and deletions that every version holds in its index take no more room beside it.

    Not before a version answers, since until then the vectors are all there is, and not while another index is made:
    that one may hold what has been deleted since its documents were read. At most so many vectors go at once, so that
    other writers need not wait long; whether more may be left.
    """
    at_work = sa.exists().where(
        jobs.c.subject == collections.c.id, jobs.c.kind == JobKind.INDEX, jobs.c.status == JobStatus.RUNNING
    )
    answers = sa.and_(collections.c.id == collection_id, collections.c.active_version.is_not(None))
    if tx.execute(sa.select(collections.c.id).where(answers, ~at_work)).first() is None:
        return False
    ready = [one for one in of_collection(tx, collection_id) if one.status is VersionStatus.READY]
    floor = min(one.watermark for one in ready)
    tx.execute(sa.delete(deletions).where(deletions.c.collection_id == collection_id, deletions.c.sequence <= floor))
    table = document_vectors
    of_here = table.c.collection_id == collection_id
    key = sa.tuple_(table.c.document_id, table.c.fingerprint)
    some = sa.select(table.c.document_id, table.c.fingerprint).where(of_here, _held_by(ready)).limit(at_most)
    return tx.execute(sa.delete(table).where(of_here, key.in_(some))).rowcount == at_most


def _held_by(ready: Sequence[VersionRecord]) -> sa.ColumnElement[bool]:
    """Vectors that all of these versions have in their indexes, or none of them could use."""
    table = document_vectors
    prints = {one.fingerprint for one in ready if one.fingerprint is not None}
    held: list[sa.ColumnElement[bool]] = [table.c.fingerprint.not_in(prints)]
    for fingerprint in prints:
        reached = min(one.watermark for one in ready if one.fingerprint == fingerprint)
        there = sa.exists().where(  # a vector may have become known long after its document was written
            documents.c.collection_id == table.c.collection_id,
            documents.c.id == table.c.document_id,
            documents.c.sequence <= reached,
        )
        held.append(sa.and_(table.c.fingerprint == fingerprint, there))
    return sa.or_(*held)
