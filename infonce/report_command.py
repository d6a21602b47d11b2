"""`infonce report`: what a model's report says, as a sentence, as a page, and as curves for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from infonce.command_options import WITHOUT_SERVER, AsJson
from infonce.errors import ConfigError
from infonce.sentences import sentences

report_app = typer.Typer()


@report_app.command(rich_help_panel=WITHOUT_SERVER)
def report(
    model: Annotated[Path, typer.Argument(help="The folder of a model that infonce has tuned, or its report.json.")],
    html: Annotated[Path | None, typer.Option(help="Write the page for people there.")] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write the curves into this folder, for TensorBoard.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a tuned model is better than its base; write its report as a page, its curves for TensorBoard."""
    with sentences():
        from infonce.phrases import forgets, headline
        from infonce.report_page import report_page
        from infonce.tensorboard import write_events

        found = _read(model)
        told = {"verdict": headline(found), "forgets": forgets(found)}
        lines = [told["verdict"], *([f"But {told['forgets']}."] if told["forgets"] else [])]
        if html is not None:
            html.write_text(report_page(found), encoding="utf-8")
            lines.append(f"{html} is written.")
        if tensorboard is not None:
            num_points = write_events(found, tensorboard)
            lines.append(f"{num_points:,} points are in {tensorboard}: tensorboard --logdir {tensorboard}")
    print(json.dumps({**told, "summary": found.get("summary")}) if as_json else "\n".join(map(str, lines)), flush=True)


def _read(model: Path) -> Mapping[str, Any]:
    """The report of the folder, or the one in the file."""
    from infonce.report_page import REPORT

    path = model / REPORT if model.is_dir() else model
    if not path.is_file():
        message = f"{path} does not exist; name the folder of a model that infonce has tuned, or its {REPORT}"
        raise ConfigError(message, param="model")
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}); name the report of a tuned model", param="model") from None
    if not isinstance(found, dict) or "curve" not in found:
        raise ConfigError(f"{path} is no report of a training; name that of a tuned model", param="model")
    return found
