"""What can be used: finished models, collections, and the versions that make collections searchable."""

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.errors import Conflict, NotFound
from service.store.paging import window
from service.store.records import CollectionRecord, ModelRecord, Page, VersionRecord
from service.store.tables import collections, models, record_of, values_of, versions

COLLECTION_ID_PREFIX = "col-"
"""No collection's name begins so, so that a path holds either."""


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


def page_models(tx: Tx, project: str, *, page: Page) -> tuple[list[ModelRecord], bool]:
    """A window of the project's tuned models, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    rows, more = window(tx, sa.select(models).where(models.c.project == project), table=models, page=page)
    return [record_of(ModelRecord, row) for row in rows], more


def insert_collection(tx: Tx, collection: CollectionRecord) -> None:
    """The collection exists.

    Raises:
        Conflict: the project has one of that name (`name_taken`).
    """
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


def insert_version_and_activate(tx: Tx, version: VersionRecord) -> bool:
    """The version exists and answers queries, unless the active one holds newer documents: then False.

    Two index jobs of one collection may end in either order; what can be found never goes back.

    Raises:
        NotFound: the collection does not exist.
    """
    locked = sa.select(collections.c.active_version).where(collections.c.id == version.collection_id).with_for_update()
    row = tx.execute(locked).one_or_none()
    if row is None:
        raise NotFound("collection", version.collection_id)
    tx.execute(sa.insert(versions).values(values_of(version, versions)))
    if row.active_version is not None and get_version(tx, row.active_version).watermark > version.watermark:
        return False
    statement = sa.update(collections).where(collections.c.id == version.collection_id)
    tx.execute(statement.values(active_version=version.id))
    return True


def get_version(tx: Tx, id: str) -> VersionRecord:
    """The version.

    Raises:
        NotFound: there is none of that id.
    """
    row = tx.execute(sa.select(versions).where(versions.c.id == id)).one_or_none()
    if row is None:
        raise NotFound("version", id)
    return record_of(VersionRecord, row)
