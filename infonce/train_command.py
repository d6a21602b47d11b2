"""`infonce train`: a fine-tuning at the command line, with a progress bar, and with one JSON object for programs."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from infonce.config import AUTO, EncoderConfig, TrainConfig
from infonce.dialects import FieldMapping
from infonce.errors import ConfigError, Stopped
from infonce.hub import Hub
from infonce.loss_config import LossConfig
from infonce.meeting import wanted_processes
from infonce.sentences import INTERRUPTED, sentences

train_app = typer.Typer()
_OPTIONS = {
    "n_epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "seed": "--seed",
}


@train_app.command()
def train(
    pairs: Annotated[Path, typer.Argument(help="Pairs: JSON Lines, CSV, TSV, in gzip or zstd; Parquet; BEIR.")],
    model: Annotated[str, typer.Option(help="The base model: a name, or a folder.")],
    output: Annotated[Path, typer.Option(help="The folder of the tuned model; a broken off run in it goes on.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the pairs; chosen if left out.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step; chosen if left out.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak; chosen if left out.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a text that are read; 256 or the model's.")] = None,
    seed: Annotated[int, typer.Option(help="Of order, split and dropout.")] = 42,
    held_out: Annotated[float, typer.Option(help="The share of pairs to judge by; 0 for no evaluation.")] = 0.1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting of TrainConfig or LossConfig, as NAME=JSON.")
    ] = None,
    mapping: Annotated[
        str | None, typer.Option(help='Where other fields hold the pairs: {"anchor": "q", "positive": "a"}, as JSON.')
    ] = None,
    save_every: Annotated[float, typer.Option(min=0.0, help="Seconds between two checkpoints.")] = 120.0,
    processes: Annotated[str, typer.Option(help="That train together: auto is one a GPU, else one.")] = AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line: a JSON object.")] = False,
) -> None:
    """Fine-tune a model on a file of pairs, here and without a server."""
    given = {"n_epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    with sentences():
        named = {name: AUTO if value is None else value for name, value in given.items()} | {"seed": seed}
        config = _config(named, settings or [])
        folder = Hub.from_env(os.environ).folder(model)
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        from infonce.peak_memory import peak_memory_bytes
        from infonce.terminal import show, watching
        from infonce.tuning import Order, tune

        order = Order(
            pairs=pairs,
            model=folder,
            model_name=folder.resolve().name if folder == Path(model) else model,
            output=output,
            config=config,
            encoder=EncoderConfig(max_seq_length=max_length),
            held_out=held_out,
            save_every_seconds=save_every,
            processes=wanted_processes("processes", processes),
            mapping=None if mapping is None else FieldMapping.from_json(mapping),
        )
        try:
            with watching() as watch:
                tuned = tune(order, watch)
        except Stopped:
            print(f"infonce: stopped; the same command goes on from {output}", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps({**tuned.to_dict(), "peak_memory_bytes": peak_memory_bytes()}), flush=True)
    else:
        show(tuned, output)


def _config(named: Mapping[str, Any], settings: list[str]) -> TrainConfig:
    """The config of the options; a setting of the loss may be named like one of the training."""
    values: dict[str, Any] = {**named, "loss": {}}
    seen: set[str] = set()
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} has no '='; write NAME=VALUE", param=name)
        if name == "loss":
            raise ConfigError(f"--set {setting!r}: name the settings of the loss one by one", param=name)
        if name in named or name in seen:
            option = _OPTIONS.get(name, "one --set alone")
            raise ConfigError(f"--set {setting!r}: {name} is given in another place; use {option}", param=name)
        seen.add(name)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        place = values["loss"] if name in LossConfig.__dataclass_fields__ else values
        place[name] = value
    return TrainConfig.from_dict(values)
