"""`infonce plot`: pictures that need no server.

A user's mistake ends with one sentence on stderr and exit code 1. Torch and matplotlib are loaded by the command that
needs them, so that `infonce --help` takes no second.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from infonce.busy import busy
from infonce.sentences import sentences

plot_app = typer.Typer(help="Draw pictures of the loss.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON; draw only if --output is given.")]


@plot_app.command("loss-surface")
def plot_loss_surface(
    temperature: Annotated[float, typer.Option(help="What similarities are divided by; 0.005 to 10.")] = 0.1,
    output: Annotated[Path | None, typer.Option(help="The PNG; loss-surface.png if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Of the samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw the loss of samples whose means come nearer: positives by α, negatives by β."""
    path = _picture_path(output, default="loss-surface.png", as_json=as_json)
    with sentences(), busy("Computing the loss surface"):
        from infonce.pictures import check_picture_path
        from infonce.plots import draw_loss_surface, loss_surface

        if path is not None:
            check_picture_path(path)
        surface = loss_surface(temperature=temperature, seed=seed)
        if path is not None:
            draw_loss_surface(surface, path)
        _report(surface.to_dict(), path, as_json=as_json)


@plot_app.command("temperature")
def plot_temperature(
    output: Annotated[Path | None, typer.Option(help="The PNG; temperature.png if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw which negatives the gradient reaches at which temperature."""
    path = _picture_path(output, default="temperature.png", as_json=as_json)
    with sentences(), busy("Computing gradients"):
        from infonce.pictures import check_picture_path
        from infonce.plots import draw_temperature_effect, temperature_effect

        if path is not None:
            check_picture_path(path)
        effect = temperature_effect()
        if path is not None:
            draw_temperature_effect(effect, path)
        _report(effect.to_dict(), path, as_json=as_json)


def _picture_path(output: Path | None, *, default: str, as_json: bool) -> Path | None:
    """Where to draw: nowhere if only numbers were asked for."""
    return output if output is not None or as_json else Path(default)


def _report(numbers: Mapping[str, Any], path: Path | None, *, as_json: bool) -> None:
    line = json.dumps({**numbers, "output": None if path is None else str(path)}) if as_json else f"{path} is drawn."
    print(line, flush=True)
