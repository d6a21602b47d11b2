"""A worker says that it is alive, under the name that its leases bear, and that it ends."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import workers
from service.store.database import Database, migrate
from service.store.records import Page
from service.store.signals import WorkerRecord
from worker.presence import Presence
from worker.settings import WORKER_PID, WorkerSettings


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    database = Database.open(url)
    yield database
    database.close()


def seen(database: Database) -> list[WorkerRecord]:
    with database.read() as tx:
        return workers.alive(tx, now=0.0, page=Page())[0]


def test_a_worker_is_known_while_it_lives(database: Database) -> None:
    presence = Presence(database, "a:1", queues=("train", "light"), began_at=5.0)
    presence.show()
    (first,) = seen(database)
    presence.show()
    (again,) = seen(database)
    assert (again.id, again.queues, again.created_at) == ("a:1", ("train", "light"), 5.0)
    assert again.seen_at >= first.seen_at > 5.0 and again.version
    presence.end()
    presence.end()
    assert seen(database) == []


def test_an_end_that_cannot_be_told_ends_nevertheless(database: Database, tmp_path: Path) -> None:
    presence = Presence(database, "a:1", queues=("train",), began_at=5.0)
    database.close()
    shutil.rmtree(tmp_path)
    presence.end()


def test_a_lease_bears_the_name_of_the_workers_main_process() -> None:
    places = {"INFONCE_DATABASE_URL": "sqlite:////nowhere/infonce.db", "INFONCE_ARTIFACTS": "/nowhere/artifacts"}
    own, main = WorkerSettings.from_env(places), WorkerSettings.from_env({**places, WORKER_PID: "4242"})
    assert own.owner.endswith(f":{os.getpid()}") and main.owner.endswith(":4242")
    assert own.owner.partition(":")[0] == main.owner.partition(":")[0]
