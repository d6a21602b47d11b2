"""The options of a training, shared by the commands that make one and that tell what it would take; knows no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from infonce.config import AUTO, TrainConfig
from infonce.errors import ConfigError
from infonce.loss_config import LossConfig

PairsFile = Annotated[Path, typer.Argument(help="Pairs: JSON Lines, CSV, TSV, in gzip or zstd; Parquet; BEIR.")]
Model = Annotated[str, typer.Option(help="The base model: a name, or a folder.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the pairs; chosen if left out.")]
BatchSize = Annotated[int | None, typer.Option(help="Pairs a step; chosen if left out.")]
LearningRate = Annotated[float | None, typer.Option(help="At its peak; chosen if left out.")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a text that are read; 256 or the model's.")]
Seed = Annotated[int, typer.Option(help="Of order, split and dropout.")]
HeldOut = Annotated[float, typer.Option(help="The share of pairs to judge by; 0 for no evaluation.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any other setting of TrainConfig or LossConfig, as NAME=JSON.")
]
Mapped = Annotated[
    str | None, typer.Option(help='Where other fields hold the pairs: {"anchor": "q", "positive": "a"}, as JSON.')
]
Corpus = Annotated[
    Path | None, typer.Option(help="Documents, one a line, in which --set mine={} looks for hard negatives.")
]
SaveEvery = Annotated[float, typer.Option(min=0.0, help="Seconds between two checkpoints.")]
NumProcesses = Annotated[str, typer.Option(help="That train together: auto is one a GPU, else one.")]

DEFAULT_SEED: Final = 42
DEFAULT_HELD_OUT: Final = 0.1
DEFAULT_SAVE_EVERY: Final = 120.0

_OPTIONS = {
    "n_epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "seed": "--seed",
}


def config_of(given: Mapping[str, Any], settings: list[str] | None) -> TrainConfig:
    """The config of the options, `auto` where one was left out; a setting of the loss may be named like any other.

    Raises:
        ConfigError: a setting is unknown, comes twice, or is outside its limits.
    """
    named = {name: AUTO if value is None else value for name, value in given.items()}
    values: dict[str, Any] = {**named, "loss": {}}
    seen: set[str] = set()
    for setting in settings or []:
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
