"""Vectors that clients brought are counted to the last one, and each is known to have been brought for some model."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from service.store import brought, catalog, documents, jobs, removal, versions
from service.store.answering import Encoding
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database
from service.store.documents import NewDocument
from service.store.records import JobRecord

MODELS = {"a": "fa", "b": "fb", "copy of a": "fa"}
VECTOR = b"\0\0\x80?"


@pytest.fixture
def collection(database: Database, make_collection: Callable[..., CollectionRecord]) -> CollectionRecord:
    made = make_collection(model="a")
    with database.write() as tx:
        catalog.insert_collection(tx, made)
    return made


def new(id: str, *, own: bool) -> NewDocument:
    return NewDocument(id=id, text=None if own else "t", vector=VECTOR if own else None)


def move(
    database: Database, collection: CollectionRecord, model: str, *, make_job: Callable[..., JobRecord], number: int
) -> None:
    """The collection answers by another version."""
    with database.write() as tx:
        job, now = make_job(), catalog.get_collection(tx, "default", name=collection.id)
        jobs.insert(tx, job)
        version = VersionRecord(
            id=f"ver-{number}",
            collection_id=collection.id,
            created_at=1.0,
            model=model,
            fingerprint=MODELS[model],
            dimension=1,
            count=0,
            watermark=now.watermark,
            folder=f"ver-{number}",
            job_id=job.id,
        )
        versions.insert(tx, version)
        versions.activate(tx, now, version=version, now=1.0)


def test_a_walk_of_writes_and_moves_is_counted_as_a_dictionary_counts_it(
    database: Database, collection: CollectionRecord, make_job: Callable[..., JobRecord]
) -> None:
    draw, owners, model = random.Random(7), dict[str, str | None](), "a"
    ids = [f"d{number}" for number in range(40)]
    move(database, collection, model, make_job=make_job, number=-1)
    for number in range(120):
        some = draw.sample(ids, draw.randrange(1, 12))
        step = draw.choice(["write", "write", "write", "delete", "move"])
        if step == "move":
            model = draw.choice(list(MODELS))
            move(database, collection, model, make_job=make_job, number=number)
        with database.write() as tx:
            if step == "write":
                batch = [new(id, own=draw.random() < 0.6) for id in some]
                documents.upsert(tx, collection, documents=batch)
                owners |= {one.id: None if one.vector is None else MODELS[model] for one in batch}
            elif step == "delete":
                documents.delete(tx, collection, ids=[*some, *some])
                owners = {id: owner for id, owner in owners.items() if id not in some}
            told = documents.counts(tx, [collection])[collection.id]
            stretches = brought.of_collection(tx, collection.id)
        expected = Counter(owner for owner in owners.values() if owner is not None)
        assert (told.documents, told.brought) == (len(owners), expected.total())
        assert told.foreign == expected.total() - expected[MODELS[model]]
        for name, fingerprint in MODELS.items():
            encoding = Encoding(model=name, fingerprint=fingerprint)
            foreign = expected.total() - expected[fingerprint]
            assert brought.num_foreign(stretches, encoding) == foreign
        assert all(one.count > 0 for one in stretches)


def test_a_model_that_has_embedded_nothing_is_known_by_its_name_until_it_has(
    database: Database, collection: CollectionRecord
) -> None:
    copy, other, replaced = Encoding(model="copy", fingerprint="fa"), Encoding(model="b", fingerprint="fb"), "fx"
    same = [Encoding(model="a", fingerprint=fingerprint) for fingerprint in (None, "fa", replaced)]

    def foreign(*encodings: Encoding) -> list[int]:
        with database.read() as tx:
            stretches = brought.of_collection(tx, collection.id)
        return [brought.num_foreign(stretches, one) for one in encodings]

    with database.write() as tx:
        documents.upsert(tx, collection, documents=[new("early", own=True)])
    assert foreign(*same, copy, other) == [0, 0, 0, 1, 1]
    embedded = Embedded(fingerprint="fa", vectors={"t": VECTOR})
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[new("t", own=False), new("late", own=True)], embedded=embedded)
    assert foreign(*same, copy, other) == [0, 0, 2, 0, 2]
    with database.write() as tx:
        documents.delete(tx, collection, ids=["t"])  # nothing tells the fingerprint any more
        documents.upsert(tx, collection, documents=[new("last", own=True)])
    assert foreign(*same, copy, other) == [0, 0, 3, 0, 3]


def test_vectors_are_counted_while_a_large_collection_goes(
    database: Database, collection: CollectionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", 4)
    with database.write() as tx:
        batch = [new(f"d{number}", own=number % 3 != 0) for number in range(10)]
        documents.upsert(tx, collection, documents=batch)
    left, is_left = [], True
    while is_left:
        with database.write() as tx:
            is_left = removal.go_on(tx, collection, now=1.0)
            ids = [one.id for one in documents.iterate(tx, collection.id, watermark=10)]
            own = sum(int(id[1:]) % 3 != 0 for id in ids)
            assert sum(one.count for one in brought.of_collection(tx, collection.id)) == own
            left.append(len(ids))
    assert left == [6, 2, 0, 0]
