"""The command line as a whole: its groups, JSON on every command, and codes that the page explains."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner, Result

from infonce.command_options import WITHOUT_SERVER
from service.cli import app
from service.console import FAILED, INTERRUPTED, STACK, WITH_SERVER
from service.store import repeats
from service.store.database import Database, sqlite_url
from service.store.records import RepeatRecord
from service.store.settings import HOME_DATABASE

PAGE = Path(__file__).parents[2] / "docs/cli.md"


def commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def everything() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def test_every_command_has_json() -> None:
    without = {
        name for name, command in commands(everything()) if "--json" not in str([o.opts for o in command.params])
    }
    assert without == set()


def test_the_help_has_three_groups_in_the_order_of_need() -> None:
    printed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    places = [printed.index(heading) for heading in (WITHOUT_SERVER, WITH_SERVER, STACK)]
    assert places == sorted(places) and "Commands" not in printed
    for name in everything().commands:
        assert f" {name} " in printed


def test_every_command_stands_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    missing = {name for name in everything().commands if f"{name}`" not in page and f"{name} " not in page}
    assert not missing


def test_every_code_with_which_a_command_ends_stands_on_the_page() -> None:
    named = re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [int(code) for code in named] == [0, FAILED, 2, INTERRUPTED]
    done = [
        CliRunner().invoke(app, words).exit_code for words in (["--help"], ["report", "nowhere"], ["report", "--x"])
    ]
    assert done == [0, FAILED, 2]


def test_a_terminal_shows_that_a_home_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFONCE_DATABASE_URL", raising=False)
    home, copy = tmp_path / "home", tmp_path / "copy"

    def infonce(*words: str) -> Result:
        done = CliRunner().invoke(app, [*words, "--home", str(home)], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done

    infonce("keys", "create")
    old = RepeatRecord(project="default", route="r", key="k", body_sha256="0", object_id="o", created_at=1.0)
    database = Database.open(sqlite_url(home / HOME_DATABASE))
    with database.write() as tx:
        repeats.remember(tx, old, since=0.0)
    database.close()
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich take any stream for a terminal
    assert "Opening the database …" in infonce("keys", "list").stderr
    made = infonce("backup", str(copy))
    assert "Copying …" in made.stderr and made.stdout.startswith(f"{copy} holds ")
    done = CliRunner().invoke(app, ["restore", str(copy), "--home", str(tmp_path / "new")])
    assert "Copying …" in done.stderr and done.stdout.startswith(f"{tmp_path / 'new'} holds ")
    swept = infonce("gc")
    assert "nothing names" in swept.stderr  # what is shown last: so few things are found before a first look
    lines = [" ".join(line.split()) for line in swept.stdout.splitlines()]
    assert lines == ["0 bytes 1 repeated requests (older than 24 hours)", "0 bytes were freed, 1 things."]


def test_keys_are_objects_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFONCE_HOME", str(tmp_path))
    monkeypatch.delenv("INFONCE_DATABASE_URL", raising=False)

    def infonce(*words: str) -> dict[str, object]:
        done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    made = infonce("keys", "create", "--name", "ci", "--scopes", "read")
    assert str(made["secret"]).startswith(f"inf_{made['id']}_") and made["scopes"] == ["read"]
    new = infonce("keys", "rotate", str(made["id"]))
    assert infonce("keys", "revoke", str(new["id"])) == {"id": new["id"], "revoked": True}
    listed = infonce("keys", "list")["data"]
    assert isinstance(listed, list) and {key["id"] for key in listed} == {made["id"], new["id"]}
    assert {key["secret"] for key in listed} == {None}
