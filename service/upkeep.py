"""The commands that keep a home well: `infonce backup`, `restore` and `gc`."""

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infonce.busy import busy
from infonce.command_options import WITHOUT_SERVER, AsJson
from service.console import DEFAULT_HOME, FAILED, OptionalHome, sentences
from service.store.settings import DATABASE_URL, HOME_ARTIFACTS, HOME_DATABASE, StoreSettings

if TYPE_CHECKING:
    from service.store.backup import Summary
    from service.store.unused import Unused

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

    with sentences(), busy("Copying") as say:
        place = _place(home)
        made = back_up(
            place.database_url,
            Artifacts(place.artifacts),
            target=target,
            leave_out_damaged=leave_out_damaged,
            tell=say.note,
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

    with sentences(), busy("Copying") as say:
        made = backup.restore(source, home=home.expanduser(), tell=say.note)
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
    from service.store.unused import Unused, remove_unused

    found: list[Unused] = []
    with sentences(), ExitStack() as afterwards:
        afterwards.callback(_tell, found, aside=as_json)  # what is gone is told, whatever becomes of the rest
        with busy("Looking for what nothing names") as say:
            place = _place(home)
            artifacts, database = Artifacts(place.artifacts), Database.open(place.database_url)
            afterwards.callback(database.close)
            artifacts.prepare()
            options = {"now": time.time(), "older_than_seconds": older_than * 3600}
            for unused in remove_unused(database, artifacts, dry_run=dry_run, **options):
                found.append(unused)
                say(f"{len(found):,} things that nothing names")
    num_bytes = sum(unused.num_bytes for unused in found)
    if as_json:
        print(json.dumps({"things": len(found), "bytes": num_bytes, "dry_run": dry_run}), flush=True)
        return
    print(f"{num_bytes:>15,} bytes  {'could be' if dry_run else 'were'} freed, {len(found)} things.")


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


def _tell(found: "Sequence[Unused]", *, aside: bool) -> None:
    """On stderr where stdout is for one object alone."""
    for unused in found:
        line = f"{unused.num_bytes:>15,} bytes  {unused.name} ({unused.why})"
        print(line, file=sys.stderr if aside else sys.stdout, flush=True)
