import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.store import catalog, documents, excerpts, jobs, projects
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database
from service.store.documents import NewDocument
from service.store.errors import Conflict, InvalidValue, NotFound
from service.store.excerpts import EVERYTHING, Excerpt, Field
from service.store.records import JobRecord

MakeCollection = Callable[..., CollectionRecord]


@pytest.fixture
def collection(database: Database, make_collection: MakeCollection) -> CollectionRecord:
    collection = make_collection()
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
    return collection


def text(id: str, text: str = "t") -> NewDocument:
    return NewDocument(id=id, text=text)


def test_a_document_reads_back_as_it_was_written(database: Database, collection: CollectionRecord) -> None:
    new = [NewDocument(id="a", text="ä 日本", metadata={"n": [1, None]}), NewDocument(id="b", vector=b"\x00\xff" * 4)]
    with database.write() as tx:
        assert documents.upsert(tx, collection, documents=new) == 2
        found = documents.by_ids(tx, collection.id, ids=["b", "a", "a", "unknown"])
        assert documents.texts_of(tx, collection.id, ids=["b", "a", "a", "unknown"]) == {"a": "ä 日本"}
    assert {(d.id, d.text, d.vector, d.sequence) for d in found.values()} == {
        ("a", "ä 日本", None, 1),
        ("b", None, b"\x00\xff" * 4, 2),
    }
    assert found["a"].metadata == {"n": [1, None]}


def test_excerpts_by_ids_are_those_of_the_whole_walk_with_what_was_asked_for(
    database: Database, collection: CollectionRecord, make_collection: MakeCollection
) -> None:
    metadata = {"n": [1, None], "ä": "\n"}
    new = [
        NewDocument(
            id=f"d{n}",
            text=None if n % 3 == 0 else "ä" * n,
            metadata=metadata if n % 2 else {},
            vector=b"\0" * 4 if n % 3 == 0 else None,
        )
        for n in range(9)
    ]
    with database.write() as tx:
        documents.upsert(tx, collection, documents=new)
        catalog.insert_collection(tx, other := make_collection(id="col-other", name="other"))
        documents.upsert(tx, other, documents=[NewDocument(id="d1", text="of another collection")])

    def read(ids: list[str], fields: frozenset[Field], at_once: int = 2) -> dict[str, Excerpt]:
        with database.read() as tx:
            found = list(excerpts.read(tx, collection.id, ids=ids, fields=fields, at_once=at_once))
        assert len({one.id for one in found}) == len(found)
        return {one.id: one for one in found}

    with database.read() as tx:
        every = {one.id: one for one in excerpts.walk(tx, collection.id, after=None, descending=False, at_once=4)}
    assert [(one.id, one.text, dict(one.metadata or {}), one.is_brought) for one in every.values()] == [
        (one.id, one.text, one.metadata, one.vector is not None) for one in new
    ]
    assert every["d1"].num_characters == len("ä" + json.dumps(metadata, ensure_ascii=False, separators=(",", ":")))
    assert read([*every, "unknown"], EVERYTHING) == read([*every], EVERYTHING, at_once=100) == every
    assert read(["d1"], frozenset()) == {"d1": replace(every["d1"], text=None, metadata=None, num_characters=0)}
    alone = read(["d1", "d0"], frozenset({Field.TEXT}))
    assert {id: (one.text, one.metadata) for id, one in alone.items()} == {"d1": ("ä", None), "d0": (None, None)}
    assert read([], EVERYTHING) == {}
    for broken in ("\0", "\ud800"):
        with pytest.raises(InvalidValue):
            read(["d1", broken], EVERYTHING)


def test_any_writes_leave_what_a_dictionary_would_hold(database: Database, collection: CollectionRecord) -> None:
    draw = random.Random(0)
    expected: dict[str, str] = {}
    with database.write() as tx:
        for call in range(20):
            ids = draw.sample(range(50), draw.randrange(0, 20))
            documents.upsert(tx, collection, documents=[text(f"d{i}", f"{call}:{i}") for i in ids])
            for i in ids:
                expected.pop(f"d{i}", None)  # written again: it moves to the end
                expected[f"d{i}"] = f"{call}:{i}"
        mark = catalog.get_collection(tx, "default", name="faq").watermark
        stored = list(documents.iterate(tx, collection.id, watermark=mark))
        assert documents.count(tx, collection.id) == len(expected)
    assert [(d.id, d.text) for d in stored] == list(expected.items())
    sequences = [d.sequence for d in stored]
    assert sequences == sorted(set(sequences))


def test_a_collection_knows_to_the_byte_what_its_documents_take(
    database: Database, collection: CollectionRecord
) -> None:
    draw, kept = random.Random(1), dict[str, NewDocument]()
    for _ in range(12):
        ids = draw.sample([f"d{i}" for i in range(700)], draw.randrange(600))
        new = [NewDocument(id=id, text="ä日b"[: draw.randrange(4)], metadata={"n": draw.random()}) for id in ids]
        new += [NewDocument(id="v", vector=bytes(4 * draw.randrange(9)))]
        with database.write() as tx:
            documents.upsert(tx, collection, documents=new)
            kept |= {document.id: document for document in new}
            told = catalog.get_collection(tx, "default", name="faq").num_bytes
            assert told == sum(map(obvious_size, kept.values())) == projects.stored_bytes(tx, "default")


def obvious_size(document: NewDocument) -> int:
    metadata = json.dumps(document.metadata, separators=(",", ":"), ensure_ascii=False)
    return len((document.text or "").encode()) + len(metadata.encode()) + len(document.vector or b"")


def test_a_transaction_takes_few_large_documents_and_many_small_ones() -> None:
    sizes = [1] * 2_500 + [262_144] * 40 + [3] * 10
    new = [text(f"d{place}", "x" * size) for place, size in enumerate(sizes)]
    batches = list(documents.in_transactions(new))
    assert [document for batch in batches for document in batch] == new and all(batches)
    assert max(sum(len(one.text or "") for one in batch) for batch in batches) < 4_000_000 + 262_144
    assert [len(batch) for batch in batches] == [1_000, 1_000, 516, 16, 18]


def test_two_thousand_documents_come_back_in_order_and_in_part(
    database: Database, collection: CollectionRecord
) -> None:
    new = [text(f"d{i}") for i in range(2001)]
    with database.write() as tx:
        assert documents.upsert(tx, collection, documents=new) == 2001
    with database.read() as tx:
        ids = [d.id for d in documents.iterate(tx, collection.id, watermark=2001)]
        assert ids == [d.id for d in new]
        assert [d.id for d in documents.iterate(tx, collection.id, watermark=1500)] == ids[:1500]
        assert set(documents.by_ids(tx, collection.id, ids=ids)) == set(ids)
        assert documents.texts_of(tx, collection.id, ids=ids) == dict.fromkeys(ids, "t")


def test_ids_of_any_characters_are_told_apart(database: Database, collection: CollectionRecord) -> None:
    ids = ["1", "1.0", "null", '{a,"b"}', "a\\b", "'", '"', "日", " ", "%s", "?", ":x", "[1]"]
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[text(id, f"of {id}") for id in ids])
        assert documents.texts_of(tx, collection.id, ids=[*ids, "NULL", "01", "a"]) == {id: f"of {id}" for id in ids}
        assert sorted(documents.delete(tx, collection, ids=ids[:6])) == sorted(ids[:6])
        assert set(documents.by_ids(tx, collection.id, ids=ids)) == set(ids[6:])
        assert documents.by_ids(tx, collection.id, ids=[]) == {}


def test_an_id_twice_in_one_call_is_refused_by_name(database: Database, collection: CollectionRecord) -> None:
    with database.write() as tx:
        with pytest.raises(Conflict, match="'b'") as caught:
            documents.upsert(tx, collection, documents=[text("a"), text("b"), text("b")])
        assert documents.count(tx, collection.id) == 0
    assert caught.value.code == "duplicate_id"


def test_a_refused_document_leaves_nothing_of_its_call(database: Database, collection: CollectionRecord) -> None:
    with pytest.raises(InvalidValue), database.write() as tx:
        documents.upsert(tx, collection, documents=[text("a"), text("b", "nul \x00")])
    with database.read() as tx:
        assert documents.count(tx, collection.id) == 0
        assert catalog.get_collection(tx, "default", name="faq").watermark == 0


def test_collections_do_not_see_each_others_documents(
    database: Database, collection: CollectionRecord, make_collection: MakeCollection
) -> None:
    other = make_collection(name="other")
    with database.write() as tx:
        catalog.insert_collection(tx, other)
        documents.upsert(tx, collection, documents=[text("a"), text("b")])
        documents.upsert(tx, other, documents=[text("a", "mine")])
        assert documents.by_ids(tx, other.id, ids=["a", "b"])["a"].text == "mine"
        assert (documents.count(tx, collection.id), documents.count(tx, other.id)) == (2, 1)


def test_documents_of_no_collection_are_refused(database: Database, make_collection: MakeCollection) -> None:
    with database.write() as tx, pytest.raises(NotFound, match="collection"):
        documents.upsert(tx, make_collection(), documents=[text("a")])


def test_pending_counts_what_the_active_version_does_not_hold(
    database: Database, collection: CollectionRecord, make_job: Callable[..., JobRecord]
) -> None:
    job = make_job()
    version = VersionRecord(
        id="ver-1",
        collection_id=collection.id,
        created_at=1.0,
        model=None,
        fingerprint=None,
        dimension=2,
        count=2,
        watermark=2,
        folder="ver-1",
        job_id=job.id,
    )
    with database.write() as tx:
        jobs.insert(tx, job)
        documents.upsert(tx, collection, documents=[text("a"), text("b")])
        assert documents.pending(tx, collection) == 2
        catalog.insert_version_and_activate(tx, version)
        now = catalog.get_collection(tx, "default", name="faq")
        assert documents.pending(tx, now) == 0
        documents.upsert(tx, now, documents=[text("b", "new"), text("c")])
        assert documents.pending(tx, now) == 2
