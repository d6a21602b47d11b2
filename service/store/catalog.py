"""What can be used: finished models, collections, and the versions that make collections searchable."""

import re
from collections.abc import Collection

import sqlalchemy as sa

from service.store import changes
from service.store import versions as collection_versions
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Tx, insert
from service.store.errors import Conflict, NotFound
from service.store.paging import window
from service.store.records import JobStatus, ModelRecord, Page
from service.store.tables import collections, jobs, models, record_of, repeats, values_of, versions

COLLECTION_ID_PREFIX = "col-"
"""No collection's name begins so, so that a path holds either."""

TUNED_PREFIX = "ft:"
"""Every model of ours is named so, and no base model is."""


def model_name(base: str, suffix: str | None, *, unique: str) -> str:
    """`ft:<base-slug>:<suffix>:<id8>`; a model tuned from a tuned one keeps the slug of the first base."""
    last = base.split(":")[1] if base.startswith(TUNED_PREFIX) else base.rsplit("/", 1)[-1]
    slug = re.sub(r"[^a-z0-9.]+", "-", last.lower()).strip("-")
    return f"{TUNED_PREFIX}{slug}:{suffix or ''}:{unique[-8:]}"


def insert_model(tx: Tx, model: ModelRecord) -> None:
    """The model is published; its folder has to be in place before.

    Raises:
        Conflict: its job has published one already.
    """
    tx.execute(sa.insert(models).values(values_of(model, models)))


def get_model(tx: Tx, project: str, *, id: str) -> ModelRecord:
    """The tuned model.

    Raises:
        NotFound: the project has none of that id.
    """
    row = tx.execute(sa.select(models).where(models.c.project == project, models.c.id == id)).one_or_none()
    if row is None:
        raise NotFound("model", id)
    return record_of(ModelRecord, row)


def model_of_print(tx: Tx, project: str, *, fingerprint: str) -> str | None:
    """The newest of the project's tuned models that makes the vectors of that fingerprint."""
    query = sa.select(models.c.id).where(models.c.project == project, models.c.fingerprint == fingerprint)
    return tx.execute(query.order_by(models.c.created_at.desc(), models.c.id).limit(1)).scalar_one_or_none()


def page_models(tx: Tx, project: str, *, page: Page) -> tuple[list[ModelRecord], bool]:
    """A window of the project's tuned models, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    rows, more = window(tx, sa.select(models).where(models.c.project == project), table=models, page=page)
    return [record_of(ModelRecord, row) for row in rows], more


def hold_models(tx: Tx, project: str, *, names: Collection[str]) -> None:
    """None of the tuned models among these names can be deleted before this transaction ends.

    Raises:
        NotFound: the project has none of that name.
    """
    tuned = {name for name in names if name.startswith(TUNED_PREFIX)}
    query = sa.select(models.c.id).where(models.c.project == project, models.c.id.in_(tuned))
    found = set(tx.execute(query.with_for_update(read=True)).scalars()) if tuned else set()
    for name in sorted(tuned - found):
        raise NotFound("model", name)


def delete_model(tx: Tx, project: str, *, id: str) -> ModelRecord:
    """What the tuned model was; the row is gone: remove its folder only after the commit.

    Raises:
        NotFound: the project has none of that id.
        Conflict: a job that has not ended names it, a collection answers by it or has a version of it (`in_use`).
    """
    row = tx.execute(sa.select(models).where(models.c.project == project, models.c.id == id).with_for_update()).first()
    if row is None:
        raise NotFound("model", id)
    spec = sa.type_coerce(jobs.c.spec, sa.Text())
    active = jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED])
    users = sa.select(jobs.c.id).where(jobs.c.project == project, active, spec.contains(f'"{id}"', autoescape=True))
    if user := tx.execute(users.limit(1)).scalar_one_or_none():
        raise Conflict("in_use", f"The job {user} needs the model {id}; cancel it or wait for its end")
    # only now: a job that has ended has written its version in the same transaction
    asked = sa.select(collections.c.name).where(collections.c.project == project, collections.c.model == id)
    if name := tx.execute(asked.order_by(collections.c.name).limit(1)).scalar_one_or_none():
        raise Conflict("in_use", f"The collection {name} answers by the model {id}; move it to another model first")
    there = sa.select(versions.c.id, collections.c.name).join_from(versions, collections)
    there = there.where(collections.c.project == project, versions.c.model == id).order_by(versions.c.id).limit(1)
    if version := tx.execute(there).first():
        message = f"The collection {version.name} has a version of the model {id}, {version.id}"
        raise Conflict("in_use", f"{message}; delete that version first")
    tx.execute(sa.delete(models).where(models.c.project == project, models.c.id == id))
    tx.execute(sa.delete(repeats).where(repeats.c.project == project, repeats.c.object_id == id))  # it may come again
    return record_of(ModelRecord, row)


def insert_collection(tx: Tx, collection: CollectionRecord, *, model_follows: bool = False) -> None:
    """The collection exists, and so does its model, or it `model_follows` in the same transaction.

    Raises:
        NotFound: the project has no tuned model of that name.
        Conflict: the project has one of that name (`name_taken`).
    """
    if collection.model is not None and not model_follows:
        hold_models(tx, collection.project, names=[collection.model])
    statement = insert(tx, collections).values(values_of(collection, collections))
    statement = statement.on_conflict_do_nothing(index_elements=["project", "name"])
    if tx.execute(statement.returning(collections.c.id)).first() is None:
        raise Conflict("name_taken", f"A collection named {collection.name!r} exists; choose another name")


def get_collection(tx: Tx, project: str, *, name: str) -> CollectionRecord:
    """The collection of that name or `col-` id.

    Raises:
        NotFound: the project has none.
    """
    column = collections.c.id if name.startswith(COLLECTION_ID_PREFIX) else collections.c.name
    row = tx.execute(sa.select(collections).where(collections.c.project == project, column == name)).one_or_none()
    if row is None:
        raise NotFound("collection", name)
    return record_of(CollectionRecord, row)


def page_collections(tx: Tx, project: str, *, page: Page) -> tuple[list[CollectionRecord], bool]:
    """A window of the project's collections, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    query = sa.select(collections).where(collections.c.project == project)
    rows, more = window(tx, query, table=collections, page=page)
    return [record_of(CollectionRecord, row) for row in rows], more


def lock_collection(tx: Tx, id: str) -> None:
    """Nobody else activates a version of the collection before this transaction ends.

    Raises:
        NotFound: the collection does not exist.
    """
    if tx.execute(sa.select(collections.c.id).where(collections.c.id == id).with_for_update()).one_or_none() is None:
        raise NotFound("collection", id)


def insert_version_and_activate(tx: Tx, version: VersionRecord, *, moves_model: bool = False) -> bool:
    """The version exists and answers queries, unless it is behind: then False.

    Two index jobs of one collection may end in either order; what can be found never goes back, neither to older
    documents nor to a model that the collection has left. One that `moves_model` takes the collection to its own
    model in the same row update, so that no text query meets an index of another one. It always counts, as a
    promotion does; but while it lacks documents that were written since it read them, it is wanted only, and a gateway
    embeds those before it moves the collection.

    Raises:
        NotFound: the collection does not exist.
    """
    locked = sa.select(collections).where(collections.c.id == version.collection_id).with_for_update()
    row = tx.execute(locked).one_or_none()
    if row is None:
        raise NotFound("collection", version.collection_id)
    collection_versions.insert(tx, version)
    newer = row.active_version is not None and get_version(tx, row.active_version).watermark > version.watermark
    if not moves_model and (newer or row.model != version.model):
        return False
    if moves_model and _lacks_documents(tx, version):
        collection_versions.want(tx, version.collection_id, id=version.id)
        return False
    collection = record_of(CollectionRecord, row)
    collection_versions.activate(tx, collection, version=version, now=version.created_at)
    return True


def _lacks_documents(tx: Tx, version: VersionRecord) -> bool:
    assert version.fingerprint is not None, "it has a model"
    return bool(
        changes.missing(tx, version.collection_id, fingerprint=version.fingerprint, after=version.watermark, limit=1)
    )


def waiting_to_move(tx: Tx) -> list[CollectionRecord]:
    """The collections of all projects that are to move to a version as soon as it lacks nothing."""
    query = sa.select(collections).where(collections.c.wanted_version.is_not(None)).order_by(collections.c.id)
    return [record_of(CollectionRecord, row) for row in tx.execute(query)]


def get_version(tx: Tx, id: str) -> VersionRecord:
    """The version.

    Raises:
        NotFound: there is none of that id.
    """
    row = tx.execute(sa.select(versions).where(versions.c.id == id)).one_or_none()
    if row is None:
        raise NotFound("version", id)
    return record_of(VersionRecord, row)
