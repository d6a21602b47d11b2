"""A file that is no longer what was uploaded trains nothing, and its job says so."""

import pytest

from service.store import events
from service.store.records import Page
from tests.worker.conftest import Site


@pytest.mark.parametrize(("content", "reason"), [(b"{]", "another SHA-256"), (b"{", "1 bytes instead of 2")])
def test_a_damaged_upload_fails_its_job_with_the_remedy_and_is_told(site: Site, content: bytes, reason: str) -> None:
    id = site.submit_training()
    file = site.job(id).spec["training_file"]
    site.shop.artifacts.file_path(file).write_bytes(content)
    site.with_child("finish_training()").answer()
    error = site.job(id).error
    assert error is not None and (error.code, error.user) == ("artifact_corrupt", False)
    assert reason in error.message and file in error.message and "upload the file again" in error.message
    with site.shop.database.read() as tx:
        told, _ = events.page(tx, id, page=Page())
    assert (told[0].type, told[0].level, told[0].data["code"]) == ("failed", "error", "artifact_corrupt")
