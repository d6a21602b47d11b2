"""`infonce doctor`: whether this machine can do the work, line by line."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from infonce.busy import busy
from infonce.command_options import WITHOUT_SERVER, AsJson
from service.console import DEFAULT_HOME, FAILED, Home, sentences

doctor_app = typer.Typer()
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@doctor_app.command(rich_help_panel=WITHOUT_SERVER)
def doctor(
    home: Home = Path(DEFAULT_HOME),
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Where `infonce serve` would listen.", envvar="INFONCE_PORT")
    ] = 8000,
    as_json: AsJson = False,
) -> None:
    """Check Python, packages, torch, memory, disk, base model, broker, database and port; exit code 1 if one fails."""
    from infonce.checkup import Level, library_checks
    from service.checkup import Place, service_checks

    pins = Path(__file__).parents[1] / "constraints.txt"  # of a checkout; a wheel has none
    with sentences(), busy("Checking"):
        place = Place.of(home.expanduser().absolute(), os.environ, port=port)
        checks = [*library_checks(os.environ, pins=pins), *service_checks(place)]
    failed = any(check.level is Level.FAIL for check in checks)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [check.to_dict() for check in checks]}), flush=True)
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        for check in checks:
            line = Text(f"{check.level.value:<5}", style=_COLOURS[check.level.value])
            line.append(f"{check.name:<11} {check.said}", style="default")
            console.print(line)
            if check.remedy is not None:
                console.print(Text(f"{'':<17}→ {check.remedy}"))
    if failed:
        raise typer.Exit(FAILED)
