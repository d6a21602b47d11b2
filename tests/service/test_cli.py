"""A user's mistake is one sentence on stderr and an exit code, never a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.store import keys
from service.store.database import Database, sqlite_url
from tests.end_to_end.processes import until

NO_PLACES = {name: value for name, value in os.environ.items() if not name.startswith("INFONCE_")}


def infonce(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service.cli", *words]
    environment = {**NO_PLACES, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_migrate_and_keys_create_make_a_key_that_is_known(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/infonce.db"
    assert infonce("migrate", INFONCE_DATABASE_URL=url, INFONCE_ARTIFACTS=str(tmp_path)).returncode == 0
    by_home = infonce("keys", "create", "--home", str(tmp_path))
    by_url = infonce("keys", "create", "--name", "ci", INFONCE_DATABASE_URL=url)
    database = Database.open(url)
    with database.read() as tx:
        found = [keys.verify(tx, done.stdout.strip(), now=time.time()) for done in (by_home, by_url)]
    database.close()
    assert [key.name for key in found if key is not None] == ["admin", "ci"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("gateway",), "INFONCE_DATABASE_URL is not set"),
        (("worker", "--queue", "light"), "INFONCE_DATABASE_URL is not set"),
        (("migrate",), "INFONCE_DATABASE_URL is not set"),
        (("keys", "create", "--home", "/proc/nowhere"), "The database does not answer: /proc/nowhere"),
        (("serve", "--home", "/proc/nowhere"), "/proc/nowhere cannot be used as a home"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_missing_is_said_in_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    done = infonce(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"infonce: {sentence}") and done.stderr.count("\n") == 1


def test_worker_refuses_a_database_of_another_schema(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    places = {"INFONCE_DATABASE_URL": f"sqlite:///{tmp_path}/empty.db", "INFONCE_ARTIFACTS": str(tmp_path)}
    done = infonce("worker", "--queue", "train", INFONCE_BROKER_URL="redis://127.0.0.1:1/0", **places)
    assert done.returncode == 1 and "infonce migrate" in done.stderr


def test_a_worker_says_its_queue_and_process_and_else_only_logs(tmp_path: Path) -> None:
    places = {"INFONCE_DATABASE_URL": f"sqlite:///{tmp_path}/infonce.db", "INFONCE_ARTIFACTS": str(tmp_path)}
    assert infonce("migrate", **places).returncode == 0
    environment = {**NO_PLACES, **places, "INFONCE_BROKER_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "service.cli", "worker", "--queue", "light", "--json"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"queue": "light", "pid": process.pid}
        until(lambda: "Cannot connect" in (tmp_path / "log").read_text(), "the worker is past Celery's greeting")
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert rest == ""


def test_unknown_queue_is_refused_with_the_known_ones() -> None:
    done = infonce("worker", "--queue", "nope")
    assert done.returncode == 2 and all(name in done.stderr for name in ("train", "medium", "light"))


def test_a_key_can_be_made_before_the_first_start(tmp_path: Path) -> None:
    done = infonce("keys", "create", INFONCE_HOME=str(tmp_path / "new ho?me"))
    database = Database.open(sqlite_url(tmp_path / "new ho?me" / "infonce.db"))
    with database.read() as tx:
        assert keys.verify(tx, done.stdout.strip(), now=time.time()) is not None
    database.close()
