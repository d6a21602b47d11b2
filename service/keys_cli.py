"""`infonce keys create | list | revoke | rotate`: keys are made and ended in the database itself."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infonce.busy import busy
from infonce.command_options import AsJson
from service.console import DEFAULT_HOME, OptionalHome, sentences
from service.errors import StartRefused
from service.store.records import DEFAULT_PROJECT, KeyRecord, Page, Scope
from service.store.settings import DATABASE_URL, HOME_DATABASE

if TYPE_CHECKING:
    from service.store.database import Database

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PAGE: Final = 1_000

keys_app = typer.Typer(help="API keys.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The eight characters between the underscores of a key.")]


@contextmanager
def opened(home: Path | None, *, make: bool = False) -> Iterator["Database"]:
    """The database of that home, made if that is wanted, or the one that the environment names."""
    from service.store.database import Database, migrate, sqlite_url

    with sentences(), busy("Opening the database"):
        url = os.environ.get(DATABASE_URL) if home is None else None
        if url is None:  # a home's database is ours to make: a key is needed before the first start on another address
            url = sqlite_url((home or Path(DEFAULT_HOME)).expanduser().absolute() / HOME_DATABASE)
            if make:
                migrate(url)
        database = Database.open(url)
        try:
            yield database
        finally:
            database.close()


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What people will know it by.")] = "admin",
    project: Annotated[str, typer.Option(help="Whose objects it opens; made if need be.")] = DEFAULT_PROJECT,
    scopes: Annotated[str, typer.Option(help="Of read, train, index, admin, with commas between.")] = "admin",
    expires_in: Annotated[str | None, typer.Option(help="90d, 12h, 30m or 60s; without an end if left out.")] = None,
    home: OptionalHome = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it is stored as a hash and cannot be shown again."""
    from service.schemas.keys import PROJECT_NAME
    from service.store import keys

    now = time.time()
    with opened(home, make=True) as database:
        if not re.fullmatch(PROJECT_NAME, project):
            raise StartRefused(
                f"--project is {project[:80]!r}; use up to 63 of a-z, 0-9, _ and -, a letter or digit first"
            )
        granted = [_scope(word.strip()) for word in scopes.split(",")]
        expires_at = None if expires_in is None else now + _seconds("--expires-in", expires_in, low=1)
        with database.write() as tx:
            key, plaintext = keys.create(tx, project, name=name, now=now, scopes=granted, expires_at=expires_at)
    _print_secret(key, plaintext, as_json=as_json)


@keys_app.command("list")
def list_keys(home: OptionalHome = None, as_json: AsJson = False) -> None:
    """Show all keys, never their secrets."""
    from service.store import keys

    with opened(home) as database, database.read() as tx:
        records, after = list[KeyRecord](), None
        while True:
            found, more = keys.page_keys(tx, None, page=Page(after=after, limit=_PAGE, descending=False))
            records += found
            if not more:
                break
            after = found[-1].id
    if as_json:
        print(json.dumps({"object": "list", "data": [_answer(record) for record in records]}), flush=True)
        return
    rows = [("id", "project", "name", "scopes", "made", "ends", "last used"), *map(_row, records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys_app.command("revoke")
def revoke_key(id: Id, home: OptionalHome = None, as_json: AsJson = False) -> None:
    """End a key at once."""
    from service.store import keys

    with opened(home) as database, database.write() as tx:
        keys.revoke(tx, id, project=None, now=time.time())
    told = f"The key {id} opens nothing any more."
    print(json.dumps({"id": id, "revoked": True}) if as_json else told, flush=True)


@keys_app.command("rotate")
def rotate_key(
    id: Id,
    grace: Annotated[str, typer.Option(help="How long the old key still counts: 24h, 30m, 0s.")] = "24h",
    home: OptionalHome = None,
    as_json: AsJson = False,
) -> None:
    """Print a new key that is what the old one was, and let the old one end."""
    from service.store import keys

    with opened(home) as database:
        seconds = _seconds("--grace", grace, low=0)
        with database.write() as tx:
            key, plaintext = keys.rotate(tx, id, project=None, now=time.time(), grace_seconds=seconds)
    _print_secret(key, plaintext, as_json=as_json)


def _print_secret(key: KeyRecord, plaintext: str, *, as_json: bool) -> None:
    print(json.dumps(_answer(key, plaintext)) if as_json else plaintext, flush=True)


def _answer(key: KeyRecord, plaintext: str | None = None) -> dict[str, Any]:
    """The key as `/v1/api_keys` shows it."""
    from service.schemas.keys import ApiKey

    return ApiKey.of(key, plaintext).model_dump(mode="json")


def _scope(word: str) -> Scope:
    if word not in list(Scope):
        raise StartRefused(f"--scopes has {word[:40]!r}; known are {', '.join(Scope)}")
    return Scope(word)


def _seconds(option: str, text: str, *, low: int) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise StartRefused(f"{option} is {text[:40]!r}; write a number and s, m, h or d, such as 90d")
    from service.schemas.keys import MAX_SECONDS

    seconds = int(match[1]) * _UNITS[match[2]]
    if not low <= seconds <= MAX_SECONDS:
        raise StartRefused(f"{option} is {text}; it must be between {low} s and {MAX_SECONDS // 86_400} days")
    return seconds


def _row(key: KeyRecord) -> tuple[str, ...]:
    ends = f"revoked {_when(key.revoked_at)}" if key.revoked_at is not None else _when(key.expires_at)
    return key.id, key.project, key.name, ",".join(key.scopes), _when(key.created_at), ends, _when(key.last_used_at)


def _when(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
