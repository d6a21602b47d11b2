"""The commands that keep a home well: `infonce backup`, `restore` and `gc`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infonce.command_options import WITHOUT_SERVER, AsJson
from service.console import DEFAULT_HOME, FAILED, OptionalHome, sentences
from service.store.settings import DATABASE_URL, HOME_ARTIFACTS, HOME_DATABASE, StoreSettings

if TYPE_CHECKING:
    from service.store.backup import Summary

upkeep_app = typer.Typer()


@upkeep_app.command(rich_help_panel=WITHOUT_SERVER)
def backup(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    home: OptionalHome = None,
    leave_out_damaged: Annotated[
        bool, typer.Option("--leave-out-damaged", help="Copy the rest where an artifact is damaged; exit code 1.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy database, files, models and indexes while everything runs; each byte is checked."""
    from service.store.artifacts import Artifacts
    from service.store.backup import back_up

    with sentences():
        place = _place(home)
        made = back_up(
            place.database_url,
            Artifacts(place.artifacts),
            target=target,
            leave_out_damaged=leave_out_damaged,
            tell=_tell_aside if as_json else _tell,
        )
    if as_json:
        _print_copy(made, target)
    else:
        print(
            f"{target} holds {made.num_files:,} files, {made.num_bytes:,} bytes; `infonce restore` makes a home of it."
        )
        for name in made.damaged:
            print(f"Left out, because it is damaged: {name}")
    if made.damaged:
        raise typer.Exit(FAILED)


@upkeep_app.command(rich_help_panel=WITHOUT_SERVER)
def restore(
    source: Annotated[Path, typer.Argument(help="What `infonce backup` has made.")],
    home: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Make a new home of a backup, after every byte of it proved to be what was written."""
    from service.store import backup

    with sentences():
        made = backup.restore(source, home=home.expanduser(), tell=_tell_aside if as_json else _tell)
    if as_json:
        _print_copy(made, home)
        return
    print(f"{home} holds {made.num_files:,} files, {made.num_bytes:,} bytes; `infonce serve --home {home}` serves it.")
    for name in made.damaged:
        print(f"Not in the backup, because it was damaged: {name}")


@upkeep_app.command(rich_help_panel=WITHOUT_SERVER)
def gc(
    home: OptionalHome = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    older_than: Annotated[float, typer.Option(min=1.0, help="Hours for which a thing must have lain.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Remove what nothing names any more: orphans of crashes, bytes of deleted files, old checkpoints and vectors."""
    from service.store.artifacts import Artifacts
    from service.store.database import Database
    from service.store.unused import remove_unused

    num = num_bytes = 0
    with sentences():
        place = _place(home)
        artifacts, database = Artifacts(place.artifacts), Database.open(place.database_url)
        artifacts.prepare()
        options = {"now": time.time(), "older_than_seconds": older_than * 3600}
        for unused in remove_unused(database, artifacts, dry_run=dry_run, **options):
            (_tell_aside if as_json else _tell)(f"{unused.num_bytes:>15,} bytes  {unused.name} ({unused.why})")
            num, num_bytes = num + 1, num_bytes + unused.num_bytes
        database.close()
    if as_json:
        print(json.dumps({"things": num, "bytes": num_bytes, "dry_run": dry_run}), flush=True)
        return
    print(f"{num_bytes:>15,} bytes  {'could be' if dry_run else 'were'} freed, {num} things.")


def _place(home: Path | None) -> StoreSettings:
    """Where database and artifacts are: of the home, or as the environment says."""
    from service.store.database import sqlite_url

    if home is None and os.environ.get(DATABASE_URL):
        return StoreSettings.from_env(os.environ)
    found = (home or Path(DEFAULT_HOME)).expanduser().absolute()
    return StoreSettings(database_url=sqlite_url(found / HOME_DATABASE), artifacts=found / HOME_ARTIFACTS)


def _print_copy(made: "Summary", place: Path) -> None:
    told = {"folder": str(place), "files": made.num_files, "bytes": made.num_bytes, "damaged": list(made.damaged)}
    print(json.dumps(told), flush=True)


def _tell(line: str) -> None:
    print(line, flush=True)


def _tell_aside(line: str) -> None:
    """Where stdout is for one object alone."""
    print(line, file=sys.stderr, flush=True)
