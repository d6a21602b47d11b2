from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from service.store import catalog, documents, jobs, versions
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database, Tx
from service.store.documents import NewDocument
from service.store.errors import Conflict, NotFound
from service.store.records import JobKind, JobRecord, ModelRecord, Page, new_id

MakeJob = Callable[..., JobRecord]
MakeCollection = Callable[..., CollectionRecord]


def make_model(job: JobRecord, **fields: Any) -> ModelRecord:
    name = f"ft:minilm:faq:{job.id[-8:]}"
    record: dict[str, Any] = {"id": name, "project": job.project, "created_at": job.created_at, "folder": job.id}
    record |= {"parent": "minilm", "job_id": job.id, "dimensions": 384, "max_tokens": 256, "fingerprint": "f"}
    return ModelRecord(**{**record, "summary": {"verdict": "better"}, **fields})


def submitted(tx: Tx, make_job: MakeJob, **fields: Any) -> JobRecord:
    job = make_job(**fields)
    jobs.insert(tx, job)
    return job


def make_version(tx: Tx, make_job: MakeJob, collection: CollectionRecord, *, watermark: int) -> VersionRecord:
    job, id = submitted(tx, make_job, kind=JobKind.INDEX), new_id("ver")
    record: dict[str, Any] = {"id": id, "collection_id": collection.id, "created_at": 1.0, "model": None}
    record |= {"fingerprint": None, "dimension": 2, "count": 3, "folder": id, "job_id": job.id}
    return VersionRecord(**record, watermark=watermark)


def test_a_model_reads_back_as_it_was_published(database: Database, make_job: MakeJob) -> None:
    with database.write() as tx:
        model = make_model(submitted(tx, make_job))
        catalog.insert_model(tx, model)
        assert catalog.get_model(tx, "default", id=model.id) == model
        with pytest.raises(NotFound):
            catalog.get_model(tx, "other", id=model.id)


def test_a_job_publishes_one_model(database: Database, make_job: MakeJob) -> None:
    with database.write() as tx:
        job = submitted(tx, make_job)
        catalog.insert_model(tx, make_model(job))
    with pytest.raises(Conflict), database.write() as tx:
        catalog.insert_model(tx, make_model(job, id="ft:a:b:c", folder="other"))


def test_pages_of_models_join_to_the_whole_list(database: Database, make_job: MakeJob) -> None:
    with database.write() as tx:
        made = [make_model(submitted(tx, make_job)) for _ in range(5)]
        for model in [*made, make_model(submitted(tx, make_job, project="other"))]:
            catalog.insert_model(tx, model)
        first, more = catalog.page_models(tx, "default", page=Page(limit=3))
        rest, no_more = catalog.page_models(tx, "default", page=Page(limit=3, after=first[-1].id))
    assert [*first, *rest] == made[::-1]
    assert (more, no_more) == (True, False)


def test_a_collection_is_found_by_name_and_by_id(database: Database, make_collection: MakeCollection) -> None:
    collection = make_collection(metadata={"team": "search"}, model="m")
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
        catalog.insert_collection(tx, make_collection(project="other"))  # the same name
        assert catalog.get_collection(tx, "default", name="faq") == collection
        assert catalog.get_collection(tx, "default", name=collection.id) == collection
        assert catalog.page_collections(tx, "default", page=Page()) == ([collection], False)
        for name in ("fa", "FAQ", "col-unknown"):
            with pytest.raises(NotFound):
                catalog.get_collection(tx, "default", name=name)


def test_a_name_is_given_once(database: Database, make_collection: MakeCollection) -> None:
    with database.write() as tx:
        catalog.insert_collection(tx, make_collection())
        with pytest.raises(Conflict) as caught:
            catalog.insert_collection(tx, make_collection())
    assert caught.value.code == "name_taken"


def test_a_name_is_given_once_also_to_two_at_a_time(postgres_url: str, make_collection: MakeCollection) -> None:
    database = Database.open(postgres_url)  # SQLite has one writer anyway

    def second() -> None:
        with database.write() as tx:
            catalog.insert_collection(tx, make_collection())

    with ThreadPoolExecutor(1) as thread, database.write() as tx:
        catalog.insert_collection(tx, make_collection())
        late = thread.submit(second)  # waits for this transaction, or comes after it
    error = late.exception()
    assert isinstance(error, Conflict)
    assert error.code == "name_taken"
    database.close()


def test_a_version_answers_from_its_activation(
    database: Database, make_job: MakeJob, make_collection: MakeCollection
) -> None:
    collection = make_collection()
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
        version = make_version(tx, make_job, collection, watermark=7)
        assert catalog.insert_version_and_activate(tx, version)
        assert catalog.get_version(tx, version.id) == replace(version, activated_at=version.created_at)
        assert catalog.get_collection(tx, "default", name="faq").active_version == version.id
        with pytest.raises(NotFound):
            catalog.get_version(tx, "ver-unknown")


def test_what_can_be_found_never_goes_back(
    database: Database, make_job: MakeJob, make_collection: MakeCollection
) -> None:
    collection = make_collection()
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
        old, new, same = (make_version(tx, make_job, collection, watermark=mark) for mark in (3, 9, 9))
        activated = [catalog.insert_version_and_activate(tx, version) for version in (new, old, same)]
        active = catalog.get_collection(tx, "default", name="faq").active_version
    assert activated == [True, False, True]
    assert active == same.id


def test_a_version_of_no_collection_is_refused(
    database: Database, make_job: MakeJob, make_collection: MakeCollection
) -> None:
    with database.write() as tx, pytest.raises(NotFound, match="collection"):
        catalog.insert_version_and_activate(tx, make_version(tx, make_job, make_collection(), watermark=1))


def test_a_version_of_another_model_that_lacks_a_document_is_wanted_until_the_collection_moves(
    database: Database, make_job: MakeJob, make_collection: MakeCollection
) -> None:
    collection = make_collection()
    with database.write() as tx:
        catalog.insert_collection(tx, collection)
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text="t") for id in "ab"])
        lacking, whole = (
            replace(make_version(tx, make_job, collection, watermark=watermark), model=model, fingerprint=model)
            for watermark, model in ((1, "m"), (2, "n"))
        )
        assert not catalog.insert_version_and_activate(tx, lacking, moves_model=True)
        [waiting] = catalog.waiting_to_move(tx)
        assert (waiting.id, waiting.wanted_version, waiting.active_version) == (collection.id, lacking.id, None)
        assert catalog.insert_version_and_activate(tx, whole, moves_model=True)
        assert catalog.waiting_to_move(tx) == []
        versions.want(tx, collection.id, id=lacking.id)
        versions.delete(tx, collection, id=lacking.id)
        assert catalog.waiting_to_move(tx) == []
        assert catalog.get_collection(tx, "default", name=collection.id).model == "n"
