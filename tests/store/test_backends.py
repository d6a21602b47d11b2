"""Both backends are tested where that can be demanded, and a database that goes away is an outage, not a crash."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from infonce.hub import Hub, HubMode
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store import catalog, documents, jobs
from service.store.deployments import deployment_job
from service.store.documents import NewDocument
from service.store.settings import StoreSettings
from tests.service.workshop import workshop
from tests.store.conftest import absent
from worker.filling import fill


def test_a_missing_backend_is_skipped_by_a_person_and_fails_in_ci() -> None:
    with pytest.raises(pytest.skip.Exception, match="no server"):
        absent("no server", {})
    with pytest.raises(pytest.fail.Exception, match="apt-get install postgresql"):
        absent("no server", {"CI": "true"})


@pytest.fixture
def http(postgres_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A gateway over PostgreSQL."""
    store = StoreSettings(database_url=postgres_url, artifacts=tmp_path / "artifacts")
    settings = GatewaySettings(store=store, hub=Hub(models_root=tmp_path / "models", mode=HubMode.OFF))
    app = create_app(settings, Seams(ring=lambda job_id, queue: None, ping=lambda: True))
    with TestClient(app, raise_server_exceptions=False) as http:
        yield http


@contextmanager
def away(command: Callable[[str], None]) -> Iterator[None]:
    """Inside, the shared database has dropped every connection and takes no new one."""
    command("ALTER DATABASE shared ALLOW_CONNECTIONS false")
    try:
        command("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shared'")
        yield
    finally:
        command("ALTER DATABASE shared ALLOW_CONNECTIONS true")


def test_while_the_database_is_away_answers_say_when_to_come_again(
    http: TestClient, postgres_command: Callable[[str], None]
) -> None:
    assert http.get("/readyz").status_code == 200
    with away(postgres_command):
        for answer in (http.get("/readyz"), http.get("/v1/files"), http.get("/v1/models"), http.get("/v1/files")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
            assert int(answer.headers["retry-after"]) >= 1 and "shared" not in answer.text
        assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == http.get("/v1/files").status_code == 200


def test_an_upload_while_the_database_is_away_leaves_nothing(
    http: TestClient, postgres_command: Callable[[str], None], tmp_path: Path
) -> None:
    content = b'{"anchor": "a", "positive": "b"}\n'
    body = {"files": {"file": ("pairs.jsonl", content)}, "data": {"purpose": "fine-tune"}}
    with away(postgres_command):
        assert http.post("/v1/files", **body).status_code == 503  # type: ignore[arg-type]
    left = [path for name in ("files", "tmp") for path in (tmp_path / "artifacts" / name).iterdir()]
    assert left == []
    assert http.post("/v1/files", **body).status_code == 200  # type: ignore[arg-type]


def test_a_filling_sees_what_a_caller_writes_at_the_same_moment(
    http: TestClient, make_collection: Callable[..., Any], tmp_path: Path, until: Callable[..., None]
) -> None:
    parts, collection, path = http.app.state.wiring, make_collection(), tmp_path / "corpus.jsonl"  # type: ignore[attr-defined]
    path.write_text('{"id": "d", "text": "of the file"}\n')
    with parts.database.write() as tx:
        catalog.insert_collection(tx, collection)
        mark = documents.upsert(tx, collection, documents=[NewDocument(id="d", text="of before")])
        ordered = deployment_job(replace(collection, watermark=mark), model="m", corpus_file=None, now=1.0)
        jobs.insert(tx, ordered)
        job = jobs.claim(tx, "light", owner="o", now=2.0)
    filling = Thread(target=lambda: fill(workshop(parts), job, path=path, stop=lambda: False))
    with parts.database.write() as tx:
        documents.upsert(tx, collection, documents=[NewDocument(id="d", text="of a caller")])
        filling.start()
        until(lambda: num_waiting(parts.database) > 0)
    filling.join()
    with parts.database.read() as tx:
        assert documents.by_ids(tx, collection.id, ids=["d"])["d"].text == "of a caller"


def num_waiting(database: Any) -> int:
    """How many transactions wait for a lock."""
    with database.read() as tx:
        return int(tx.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())
