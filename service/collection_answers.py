"""What is told of a collection."""

from service.schemas.collections import CollectionObject
from service.store import documents
from service.store.collection_records import CollectionRecord
from service.store.database import Tx


def collection_object(tx: Tx, record: CollectionRecord) -> CollectionObject:
    """The answer about the record."""
    return CollectionObject(
        id=record.id,
        name=record.name,
        model=record.model,
        dimension=record.dimension,
        created_at=int(record.created_at),
        metadata=dict(record.metadata),
        count=documents.count(tx, record.id),
        pending=documents.pending(tx, record),
        active_version=record.active_version,
        previous_version=record.previous_version,
    )
