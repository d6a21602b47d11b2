"""`infonce doctor`: each part of the service is looked at, and the exit code says whether one of them fails."""

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infonce.checkup import Level
from service.checkup import Place, check_broker, check_database, check_disk, check_port
from service.cli import app
from service.store.database import migrate, sqlite_url


def test_a_new_home_is_fit(tmp_path: Path) -> None:
    place = Place.of(tmp_path / "new", {}, port=8000)
    assert check_disk(place.artifacts).level is not Level.FAIL
    assert check_database(place.database_url, made_by_serve=place.made_by_serve).level is Level.OK
    assert check_broker(None).level is Level.OK


def test_a_database_is_told_apart_by_its_schema(tmp_path: Path) -> None:
    old, new = sqlite_url(tmp_path / "old.db"), sqlite_url(tmp_path / "new.db")
    (tmp_path / "old.db").touch()
    migrate(new)
    found = check_database(old, made_by_serve=tmp_path / "old.db")
    assert (found.level, "infonce migrate" in str(found.remedy)) == (Level.FAIL, True)
    assert check_database(new, made_by_serve=None).level is Level.OK
    assert check_database("nonsense", made_by_serve=None).level is Level.FAIL
    assert check_database(sqlite_url(tmp_path / "none.db"), made_by_serve=None).level is Level.FAIL


def test_a_broker_that_is_named_has_to_answer() -> None:
    assert check_broker("redis://127.0.0.1:9/0").level is Level.FAIL
    assert check_broker("http://127.0.0.1").level is Level.FAIL


def test_a_taken_port_is_a_warning() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert check_port("127.0.0.1", listener.getsockname()[1]).level is Level.WARN
    assert check_port("127.0.0.1", 0).level is Level.OK


def test_the_exit_code_says_whether_a_check_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFONCE_BROKER_URL", "redis://127.0.0.1:9/0")
    monkeypatch.delenv("INFONCE_DATABASE_URL", raising=False)
    done = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path), "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    failed = [check["name"] for check in told["checks"] if check["level"] == "fail"]
    assert (done.exit_code, told["ok"], "broker" in failed) == (1, False, True)
    shown = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path)], catch_exceptions=False)
    assert shown.exit_code == 1 and "→ start it, or correct the address" in shown.stdout
