"""What was written since an index was made is read back in order, once, as the last write left it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.store import catalog, changes, documents, jobs, versions
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database
from service.store.documents import NewDocument
from service.store.records import JobKind, JobRecord, JobStatus

MakeCollection = Callable[..., CollectionRecord]
NUMBERS = count()
NAMES = st.sampled_from("abcdef")
HOW = st.sampled_from(["vector", "embedded", "other model", "text", "known later", "delete"])
WRITES = st.lists(st.tuples(HOW, st.lists(NAMES, unique=True), st.booleans()), max_size=12)
"""How which documents are written, and whether it is read back at once."""


@pytest.fixture
def collection(database: Database, make_collection: MakeCollection) -> CollectionRecord:
    collection = make_collection()
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
    return collection


def write(database: Database, collection: CollectionRecord, how: str, ids: list[str], *, mark: bytes) -> None:
    with database.write() as tx:
        if how == "delete":
            documents.delete(tx, collection, ids=ids)
            return
        if how == "known later":
            there = documents.by_ids(tx, collection.id, ids=ids)
            embedded = Embedded(fingerprint="f", vectors=dict.fromkeys(there, mark))
            made_of = {id: one.sequence for id, one in there.items()}
            changes.make_known(tx, collection.id, embedded=embedded, made_of=made_of)
            return
        vector = mark if how == "vector" else None
        new = [NewDocument(id=id, text="t", vector=vector, metadata={"how": how}) for id in ids]
        model = {"embedded": "f", "other model": "g"}.get(how)
        embedded = None if model is None else Embedded(fingerprint=model, vectors=dict.fromkeys(ids, mark))
        documents.upsert(tx, collection, documents=new, embedded=embedded)


class Reader:
    """What can be found, by who applies what is told since the last time to what was known then."""

    def __init__(self, collection: CollectionRecord) -> None:
        self._id = collection.id
        self._seen = 0
        self.found: dict[str, bytes] = {}

    def read(self, database: Database) -> dict[str, bytes]:
        with database.read() as tx:
            told = list(changes.since(tx, self._id, fingerprint="f", after=self._seen))
            self._seen = catalog.get_collection(tx, "default", name=self._id).watermark
        assert [one.sequence for one in told] == sorted({one.sequence for one in told})
        assert len({one.id for one in told}) == len(told)
        for one in told:
            self.found.pop(one.id, None)
            if one.vector is not None:
                self.found[one.id] = one.vector
        return self.found


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES)
def test_whoever_reads_now_and_then_finds_what_a_dictionary_would_hold(
    database: Database, make_collection: MakeCollection, writes: list[tuple[str, list[str], bool]]
) -> None:
    collection = make_collection(name=f"c{next(NUMBERS)}")
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
    expected: dict[str, bytes | None] = {}
    often = Reader(collection)
    for number, (how, ids, is_read) in enumerate(writes):
        mark = bytes([number] * 4)
        write(database, collection, how, ids, mark=mark)
        for id in ids:
            if how in ("vector", "embedded") or (how == "known later" and id in expected and expected[id] is None):
                expected[id] = mark
            elif how == "delete":
                expected.pop(id, None)
            elif how in ("text", "other model"):
                expected[id] = None
        if is_read:
            often.read(database)
    known = {id: vector for id, vector in expected.items() if vector is not None}
    assert Reader(collection).read(database) == known
    assert often.read(database) == known


def test_pages_of_changes_are_read_to_the_end(database: Database, collection: CollectionRecord) -> None:
    with database.write() as tx:
        rows = [NewDocument(id=f"d{n}", vector=b"\0\0\x80?") for n in range(1_300)]
        documents.upsert(tx, collection, documents=rows)
        documents.delete(tx, collection, ids=[f"d{n}" for n in range(0, 1_300, 2)])
    with database.read() as tx:
        found = list(changes.since(tx, collection.id, fingerprint=None, after=0))
        assert changes.count_since(tx, collection.id, after=0) == len(found) == 1_300
        for limit in (1, 650, 651, 1_299, 1_300, 1_301):  # of either kind 650
            assert changes.count_since(tx, collection.id, after=0, at_most=limit) == min(limit, 1_300)
    assert sum(one.vector is None for one in found) == 650


def test_many_vectors_that_become_known_late_are_told_page_by_page(
    database: Database, collection: CollectionRecord
) -> None:
    often, ids = Reader(collection), [f"d{n}" for n in range(1_300)]
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text="t") for id in ids])
    assert often.read(database) == {}
    for start in (0, 650):
        with database.write() as tx:
            there = documents.by_ids(tx, collection.id, ids=ids[start : start + 650])
            made = Embedded(fingerprint="f", vectors={id: id.encode() for id in there})
            made_of = {id: one.sequence for id, one in there.items()}
            assert changes.make_known(tx, collection.id, embedded=made, made_of=made_of) == 650
            assert changes.make_known(tx, collection.id, embedded=made, made_of=made_of) == 0
            more = [NewDocument(id=f"more{start + n}", vector=b"\0\0\x80?") for n in range(650)]
            documents.upsert(tx, collection, documents=more)
    expected = {id: id.encode() for id in ids} | {f"more{n}": b"\0\0\x80?" for n in range(1_300)}
    assert often.read(database) == expected == Reader(collection).read(database)


def test_a_vector_of_a_document_that_an_index_has_is_no_news(database: Database, collection: CollectionRecord) -> None:
    ids = [f"d{n}" for n in range(1_300)]
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text="t") for id in ids])
        made = Embedded(fingerprint="f", vectors=dict.fromkeys(reversed(ids), b"\0\0\x80?"))
        made_of = {id: place for place, id in enumerate(ids, 1)}
        assert changes.make_known(tx, collection.id, embedded=made, made_of=made_of) == 1_300
        for after, indexed, num in ((1_300, 0, 1_300), (1_300, 1_000, 300), (1_800, 0, 800), (1_000, 1_000, 300)):
            told = list(changes.since(tx, collection.id, fingerprint="f", after=after, indexed=indexed))
            assert len({one.id for one in told}) == len(told) == num
            assert {one.is_late for one in told} == {after >= 1_300}
        assert not list(changes.since(tx, collection.id, fingerprint="g", after=1_300))


@pytest.mark.parametrize(
    ("answers_by", "model", "known", "num"),
    [("f", "m", None, 2), ("g", "m", None, 0), ("f", "other", None, 0), (None, "m", None, 2), (None, "m", "g", 0)],
)
def test_vectors_of_a_job_can_be_found_early_where_the_collection_answers_by_its_model(
    database: Database,
    make_collection: MakeCollection,
    make_job: Callable[..., JobRecord],
    answers_by: str | None,
    model: str,
    known: str | None,
    num: int,
) -> None:
    collection = make_collection(model="m")
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
        before = None if known is None else Embedded(fingerprint=known, vectors={"old": b"\0\0\x80?"})
        documents.upsert(tx, collection, documents=[NewDocument(id="old", text="t")], embedded=before)
        if answers_by is not None:
            job = make_job()
            jobs.insert(tx, job)
            active = replace(version(collection, job_id=job.id, watermark=1), model="m", fingerprint=answers_by)
            catalog.insert_version_and_activate(tx, active)
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text="t") for id in "ab"])
        made = Embedded(fingerprint="f", vectors=dict.fromkeys("ab", b"\0\0\x80?"))
        told = {"embedded": made, "made_of": {"a": 2, "b": 3}}
        assert versions.keep_early_vectors(tx, collection.id, model=model, **told) == num
        assert versions.keep_early_vectors(tx, "col-none", model=model, **told) == 0
        pending = documents.pending(tx, catalog.get_collection(tx, "default", name=collection.id))
    assert pending == 2 - num + (answers_by is None and known is None)


def test_of_many_vectors_some_are_forgotten_at_once(
    database: Database, collection: CollectionRecord, make_job: Callable[..., JobRecord]
) -> None:
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text="t") for id in "abc"])
        made = Embedded(fingerprint="f", vectors=dict.fromkeys("abc", b"\0\0\x80?"))
        changes.make_known(tx, collection.id, embedded=made, made_of={"a": 1, "b": 2, "c": 3})
        job = make_job()
        jobs.insert(tx, job)
        catalog.insert_version_and_activate(tx, version(collection, job_id=job.id, watermark=2))
        assert [versions.forget_changes(tx, collection.id, at_most=1) for _ in range(3)] == [True, True, False]
        assert set(changes.vectors_of(tx, collection.id, fingerprint="f")) == {"c"}


def test_deleting_frees_what_the_documents_took_and_names_those_that_existed(
    database: Database, collection: CollectionRecord
) -> None:
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text=id * 9) for id in "ab"])
        full = catalog.get_collection(tx, "default", name=collection.id)
        assert documents.delete(tx, full, ids=["b", "x", "b"]) == ["b"]
        left = catalog.get_collection(tx, "default", name=collection.id)
    assert 0 < left.num_bytes < full.num_bytes and left.watermark == full.watermark + 1


def test_what_every_version_holds_is_forgotten_here(
    database: Database, collection: CollectionRecord, make_job: Callable[..., JobRecord]
) -> None:
    with database.write() as tx:
        for n in range(4):
            new = [NewDocument(id=f"d{n}", text="t")]
            made = Embedded(fingerprint="f", vectors={f"d{n}": b"\0\0\x80?"})
            documents.upsert(tx, collection, documents=new, embedded=made)
        assert changes.fingerprint_of(tx, collection.id) == "f"
        documents.delete(tx, collection, ids=["d3"])
        answering, made = (version(collection, job_id=f"job-{watermark}", watermark=watermark) for watermark in (4, 2))
        for one in (answering, made):
            jobs.insert(tx, make_job(id=one.job_id))
            versions.insert(tx, one)
        versions.forget_changes(tx, collection.id)
        assert len(changes.vectors_of(tx, collection.id, fingerprint="f")) == 3  # they are all that can be found
        versions.activate(tx, collection, version=answering, now=1.0)
        running = make_job(kind=JobKind.INDEX, subject=collection.id, status=JobStatus.RUNNING)
        jobs.insert(tx, running)
        versions.forget_changes(tx, collection.id)
        assert len(changes.vectors_of(tx, collection.id, fingerprint="f")) == 3  # it may need them
        assert jobs.succeed(tx, running.id, attempt=running.attempt, now=1.0, result={})
        versions.forget_changes(tx, collection.id)
        assert set(changes.vectors_of(tx, collection.id, fingerprint="f")) == {"d2"}
        assert changes.count_since(tx, collection.id, after=4) == 1
        versions.delete(tx, collection, id=made.id)
        versions.forget_changes(tx, collection.id)
        assert changes.vectors_of(tx, collection.id, fingerprint="f") == {}
        assert changes.count_since(tx, collection.id, after=4) == 1  # the version has d3 in its index


def test_a_vector_that_became_known_late_is_forgotten_with_its_document(
    database: Database, collection: CollectionRecord, make_job: Callable[..., JobRecord]
) -> None:
    with database.write() as tx:
        documents.upsert(tx, collection, documents=[NewDocument(id="a", text="t")])
        documents.upsert(tx, collection, documents=[NewDocument(id="b", text="t")])
        embedded = Embedded(fingerprint="f", vectors={"a": b"\0\0\x80?", "b": b"\0\0\x80?"})
        changes.make_known(tx, collection.id, embedded=embedded, made_of={"a": 1, "b": 2})
        jobs.insert(tx, make_job(id="job-1"))
        answering = version(collection, job_id="job-1", watermark=1)
        versions.insert(tx, answering)
        versions.activate(tx, collection, version=answering, now=1.0)
        versions.forget_changes(tx, collection.id)
        assert set(changes.vectors_of(tx, collection.id, fingerprint="f")) == {"b"}


def version(collection: CollectionRecord, *, job_id: str, watermark: int) -> VersionRecord:
    return VersionRecord(
        id=f"ver-{watermark}",
        collection_id=collection.id,
        created_at=1.0,
        model=None,
        fingerprint="f",
        dimension=1,
        count=2,
        watermark=watermark,
        folder=f"ver-{watermark}",
        job_id=job_id,
    )


def test_an_index_of_older_documents_or_of_another_model_takes_no_ones_place(
    database: Database, collection: CollectionRecord, make_job: Callable[..., JobRecord]
) -> None:
    with database.write() as tx:
        job = make_job()
        jobs.insert(tx, job)
        there = version(collection, job_id=job.id, watermark=4)
        versions.insert(tx, there)
        assert not versions.renew(tx, there.id, built=replace(there, watermark=3, folder="older"))
        assert not versions.renew(tx, there.id, built=replace(there, watermark=9, folder="other", model="m"))
        assert versions.get(tx, collection.id, id=there.id) == there
        assert versions.renew(tx, there.id, built=replace(there, watermark=5, folder="newer", count=3))
        assert versions.get(tx, collection.id, id=there.id) == replace(there, watermark=5, folder="newer", count=3)
