"""`infonce estimate`: what `infonce train` with the same options would take, known after a few measured steps."""

import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from infonce import training_options as options
from infonce.busy import busy
from infonce.command_options import WITHOUT_SERVER, AsJson
from infonce.config import AUTO, EncoderConfig
from infonce.dialects import FieldMapping
from infonce.errors import Stopped
from infonce.hub import Hub
from infonce.meeting import wanted_processes
from infonce.phrases import duration
from infonce.sentences import INTERRUPTED, sentences

if TYPE_CHECKING:
    from infonce.estimate import Estimate

estimate_app = typer.Typer()


@estimate_app.command(rich_help_panel=WITHOUT_SERVER)
def estimate(
    pairs: options.PairsFile,
    model: options.Model,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    max_length: options.MaxLength = None,
    seed: options.Seed = options.DEFAULT_SEED,
    held_out: options.HeldOut = options.DEFAULT_HELD_OUT,
    settings: options.Settings = None,
    mapping: options.Mapped = None,
    save_every: options.SaveEvery = options.DEFAULT_SAVE_EVERY,
    processes: options.NumProcesses = AUTO,
    as_json: AsJson = False,
) -> None:
    """Tell how long `infonce train` would take here, and how much memory; nothing is trained, nothing is kept."""
    began = perf_counter()
    given = {"n_epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    with sentences():
        config = options.config_of(given, settings)
        folder = Hub.from_env(os.environ).folder(model)
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        with busy("Loading"):
            from infonce.terminal import watching
            from infonce.tuning_estimate import estimate_tuning
            from infonce.tuning_order import Order

        order = Order(
            pairs=pairs,
            model=folder,
            output=Path(),
            config=config,
            encoder=EncoderConfig(max_seq_length=max_length),
            held_out=held_out,
            save_every_seconds=save_every,
            processes=wanted_processes("processes", processes),
            mapping=None if mapping is None else FieldMapping.from_json(mapping),
        )
        try:
            with watching() as watch:
                found = estimate_tuning(order, watch, began=began)
        except Stopped:
            print("infonce: stopped; nothing was kept", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(found.to_dict()), flush=True)
    else:
        _show(found)


def _show(found: "Estimate") -> None:
    """What a person wants to know of it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    low, high = found.seconds_range
    smallest, largest = (number / 1e9 for number in found.memory_range)
    table = Table("part", box=SIMPLE_HEAD)
    table.add_column("time", justify="right")
    for name, seconds in found.seconds.items():
        if seconds:
            table.add_row(name, duration(seconds))
    table.add_section()
    table.add_row("together", duration(found.total_seconds))
    console.print(table)
    console.print(f"Between {duration(low)} and {duration(high)} if the machine stays as busy as it is now.")
    console.print(f"{found.peak_memory_bytes / 1e9:.2f} GB at the peak, {smallest:.2f} to {largest:.2f}.")
    steps = f"{found.num_steps:,} steps of {found.config.batch_size} pairs"
    console.print(
        f"{found.num_pairs:,} pairs, {found.config.n_epochs} epochs, {steps}: {found.trained_tokens:,} tokens"
    )
    measured = found.measured
    console.print(f"Computed were {measured['steps']} steps, {measured['whole_steps']} of them whole.")
