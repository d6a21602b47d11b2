"""What an attempt needs before its child begins: models that are there or fetched, uploads, documents of an index."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infonce.errors import Stopped
from infonce.hub import FoundModel, Hub, HubMode, Source
from service.store import catalog, documents, jobs, wishes
from service.store.documents import NewDocument
from service.store.records import JobStatus, Page
from tests.end_to_end.processes import until
from tests.worker.conftest import PROJECT, Site
from tests.worker.test_lifecycle import all_models
from worker.orders import write_order


def test_unknown_model_fails_the_job_and_names_the_known_ones(site: Site) -> None:
    id = site.submit_training(model="acme/other")
    site.with_child("finish_training()").answer()
    error = site.job(id).error
    assert error is not None and error.code == "unknown_base_model" and "acme/tiny" in error.message


class Fetching(Hub):
    """A hub that has nothing and may download."""

    def may_fetch(self, name: str) -> bool:
        return True

    def fetch(self, name: str) -> FoundModel:
        return FoundModel(name=name, path=Path("/downloaded") / name, source=Source.CACHE)


def test_model_that_may_be_downloaded_is_there_before_the_child(site: Site) -> None:
    id = site.submit_training(model="acme/other")
    fetching = site.with_child("finish_training()")
    replace(fetching, shop=replace(fetching.shop, hub=Fetching(mode=HubMode.ALLOW))).answer()
    order = json.loads((site.shop.artifacts.run_path(id, 1) / "order.json").read_text())
    assert order["model"] == {"name": "acme/other", "path": "/downloaded/acme/other"}


class Slow(Fetching):
    """A hub whose downloads last until they are let go."""

    go = threading.Event()

    def fetch(self, name: str) -> FoundModel:
        self.go.wait(20)
        return super().fetch(name)


def test_a_wish_is_heard_while_a_model_is_downloaded(site: Site) -> None:
    id = site.submit_training(model="acme/other")
    slow = replace(site, shop=replace(site.shop, hub=Slow(mode=HubMode.ALLOW)))
    attempt = slow.begin()
    until(lambda: site.job(id).status is JobStatus.RUNNING, "the download")
    with site.shop.database.write() as tx:
        wishes.request_pause(tx, PROJECT, id=id, now=time.time())
    attempt.result(10)
    Slow.go.set()
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.PAUSED, 0)


def test_tuned_model_is_trained_on_only_if_it_is_what_was_published(site: Site) -> None:
    site.submit_training()
    site.with_child("finish_training()").answer()
    [tuned] = all_models(site)
    again = site.submit_training(model=tuned.id)
    site.with_child("finish_training()").answer()
    assert site.job(again).result["model"] == f"ft:tiny:faq:{again[-8:]}"
    (site.shop.artifacts.model_path(tuned.folder) / "model.safetensors").write_bytes(b"w3ights")
    broken = site.submit_training(model=tuned.id)
    site.with_child("finish_training()").answer()
    error = site.job(broken).error
    assert error is not None and (error.code, error.user) == ("artifact_corrupt", False)


EAST = b"\0\0\x80?\0\0\0\0"


def add_document(site: Site, name: str, *, vector: bytes | None = EAST) -> None:
    with site.shop.database.write() as tx:
        collection = catalog.get_collection(tx, PROJECT, name=name)
        count = documents.count(tx, collection.id)
        new = NewDocument(id=f"d{count}", text="a text", metadata={}, vector=vector)
        documents.upsert(tx, collection, documents=[new])


def test_index_job_activates_its_version(site: Site) -> None:
    collection = site.new_collection()
    add_document(site, "faq")
    id = site.submit_index(collection)
    site.with_child("finish_index()").answer("light")
    with site.shop.database.read() as tx:
        active = catalog.get_collection(tx, PROJECT, name="faq").active_version
        version = catalog.get_version(tx, str(active))
    assert (version.count, version.watermark, site.job(id).result["version"]) == (1, 1, active)
    assert version.num_bytes == len(b"index")
    site.shop.artifacts.verify(site.shop.artifacts.collection_version_path(collection.id, version.id))


def test_a_wish_to_stop_is_heard_while_documents_are_read(site: Site) -> None:
    add_document(site, site.new_collection().name)
    with site.shop.database.read() as tx:
        collection = catalog.get_collection(tx, PROJECT, name="faq")
    id = site.submit_index(collection)
    with pytest.raises(Stopped):
        write_order(site.shop, site.job(id), stop=lambda: True)
    assert write_order(site.shop, site.job(id), stop=lambda: False).path.exists()


class Stopping(Hub):
    """A hub that is told to stop."""

    def resolve(self, name: str, **_: Any) -> Any:
        raise Stopped("stopped")


def test_an_attempt_that_stops_before_its_child_is_no_loss(site: Site) -> None:
    id = site.submit_training()
    replace(site, shop=replace(site.shop, hub=Stopping())).answer()
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.QUEUED, 0)


def test_documents_that_came_meanwhile_get_another_index_job(site: Site) -> None:
    collection = site.new_collection()
    add_document(site, "faq")
    first = site.submit_index(collection)
    script = "while not (staging / 'go').exists(): time.sleep(0.02)\nfinish_index()"
    attempt = site.with_child(script).begin("light")
    go = site.shop.artifacts.run_path(first, 1) / "staging" / "go"
    until((go.parent.parent / "order.json").exists, "the order")
    add_document(site, "faq", vector=None)  # one with a vector could be found at once
    go.touch()
    attempt.result(20)
    with site.shop.database.read() as tx:
        page, _ = jobs.page(tx, PROJECT, kinds=[site.job(first).kind], page=Page())
    assert [job.status for job in page] == [JobStatus.QUEUED, JobStatus.SUCCEEDED]
    site.with_child("finish_index()").answer("light")
    with site.shop.database.read() as tx:
        assert documents.pending(tx, catalog.get_collection(tx, PROJECT, name="faq")) == 0
