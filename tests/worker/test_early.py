"""Vectors of a job that runs come into the database with its heartbeat, and of an attempt that was given up none do."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from service.store import catalog, changes, documents, jobs
from service.store.collection_records import CollectionRecord
from service.store.documents import NewDocument
from service.store.records import JobKind, JobRecord
from tests.worker.conftest import MODEL, PROJECT, Site
from worker.early import EarlyVectors
from worker.orders import write_order
from worker.progress import MessageType
from worker.pulse import FILES_AT_ONCE, Pulse

NUM = FILES_AT_ONCE + 2
IDS = [f"ä{n}" for n in range(NUM)]
EAST = b"\0\0\x80?\0\0\0\0"


@pytest.fixture
def job(site: Site) -> JobRecord:
    """An index job that was claimed, of a collection of texts."""
    collection = CollectionRecord(
        id="col-1", project=PROJECT, name="faq", created_at=1.0, model=MODEL, dimension=2, metadata={}, watermark=0
    )
    with site.shop.database.write() as tx:
        catalog.insert_collection(tx, collection)
        documents.upsert(tx, collection, documents=[NewDocument(id=id, text="t") for id in IDS])
    site.submit(JobKind.INDEX, {"collection": "col-1"}, subject="col-1")
    with site.shop.database.write() as tx:
        claimed = jobs.claim(tx, "light", owner="me", now=time.time())
    assert claimed is not None
    return claimed


def write(folder: Path) -> list[Path]:
    """A file for each document."""
    paths = [folder / f"{n}.json" for n in range(NUM)]
    for number, (id, path) in enumerate(zip(IDS, paths, strict=True), 1):
        said = {"collection": "col-1", "model": MODEL, "fingerprint": "f"}
        EarlyVectors(**said, sequences={id: number}, vectors={id: EAST}).save(path)
    return paths


def known(site: Site) -> set[str]:
    with site.shop.database.read() as tx:
        return set(changes.vectors_of(tx, "col-1", fingerprint="f"))


def test_vectors_are_kept_some_files_at_a_time_and_the_files_go(site: Site, job: JobRecord, tmp_path: Path) -> None:
    paths, pulse = write(tmp_path), Pulse(site.shop.database, job)
    for path in paths:
        pulse.tell(MessageType.VECTORS, {"path": str(path)})
    assert pulse.commit()
    assert known(site) == set(IDS[:FILES_AT_ONCE]) and [path.exists() for path in paths[-3:]] == [False, True, True]
    assert pulse.commit() and known(site) == set(IDS) and not any(path.exists() for path in paths)
    assert pulse.commit()


def test_vectors_of_an_attempt_that_was_given_up_are_not_kept(site: Site, job: JobRecord, tmp_path: Path) -> None:
    pulse = Pulse(site.shop.database, job)
    with site.shop.database.write() as tx:
        jobs.release(tx, job.id, attempt=job.attempt, now=time.time(), lost=False, reason="elsewhere")
    for path in write(tmp_path):
        pulse.tell(MessageType.VECTORS, {"path": str(path)})
    assert not pulse.commit() and known(site) == set()


def test_what_was_not_kept_at_the_end_is_left_to_the_index_of_the_job(
    site: Site, job: JobRecord, tmp_path: Path
) -> None:
    pulse = Pulse(site.shop.database, job)
    for path in write(tmp_path):
        pulse.tell(MessageType.VECTORS, {"path": str(path)})
    pulse.stop()
    assert pulse.commit() and known(site) == set()


@pytest.mark.parametrize(
    ("more", "is_served"), [({}, True), ({"model": "acme/other"}, False), ({"of_model": "acme/other"}, False)]
)
def test_an_order_says_whether_its_model_answers_now(
    site: Site, job: JobRecord, more: dict[str, str], is_served: bool
) -> None:
    (site.folder / "base/acme/other").mkdir()
    (site.folder / "base/acme/other/config.json").write_text("{}")
    order = json.loads(write_order(site.shop, replace(job, spec={**job.spec, **more})).path.read_text())
    assert (order["is_served"], order["collection"]) == (is_served, "col-1")
