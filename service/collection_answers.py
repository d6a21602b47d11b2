"""What is told of collections and their versions."""

from collections.abc import Sequence

from service.foreign_vectors import foreign_warnings
from service.schemas.collections import CollectionObject, IndexAsked
from service.schemas.versions import VersionObject
from service.store import brought, documents, jobs
from service.store.answering import Encoding
from service.store.collection_records import CollectionRecord, VersionRecord
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
            brought=counts[record.id].brought,
            warnings=foreign_warnings(counts[record.id].foreign, model=record.model),
        )
        for record in records
    ]


def version_objects(tx: Tx, records: Sequence[VersionRecord], *, collection: CollectionRecord) -> list[VersionObject]:
    """The answers about versions of the collection, in their order."""
    made_by = jobs.by_ids(tx, collection.project, ids=[one.job_id for one in records if one.job_id is not None])
    stretches = brought.of_collection(tx, collection.id)
    told = []
    for one in records:
        foreign = brought.num_foreign(stretches, Encoding(model=one.model, fingerprint=one.fingerprint))
        warnings = foreign_warnings(foreign, model=one.model)
        told.append(VersionObject.of(one, collection, job=made_by.get(str(one.job_id)), warnings=warnings))
    return told
