"""What is told of collections."""

from collections.abc import Sequence

from service.schemas.collections import CollectionObject, IndexAsked
from service.store import documents
from service.store.collection_records import CollectionRecord
from service.store.database import Tx


def collection_object(tx: Tx, record: CollectionRecord) -> CollectionObject:
    """The answer about the record."""
    [found] = collection_objects(tx, [record])
    return found


def collection_objects(tx: Tx, records: Sequence[CollectionRecord]) -> list[CollectionObject]:
    """The answers about the records, in their order."""
    counts = documents.counts(tx, records)
    return [
        CollectionObject(
            id=record.id,
            name=record.name,
            model=record.model,
            dimension=record.dimension,
            created_at=int(record.created_at),
            metadata=dict(record.metadata),
            count=counts[record.id].documents,
            pending=counts[record.id].pending,
            index=IndexAsked.model_validate(record.asked_index),
            active_version=record.active_version,
            previous_version=record.previous_version,
        )
        for record in records
    ]
