"""`infonce train`: a fine-tuning at the command line, with a progress bar, and with one JSON object for programs."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infonce import training_options as options
from infonce.busy import busy
from infonce.command_options import WITHOUT_SERVER, AsJson
from infonce.config import AUTO, EncoderConfig
from infonce.dialects import FieldMapping
from infonce.errors import Stopped
from infonce.hub import Hub
from infonce.meeting import wanted_processes
from infonce.sentences import INTERRUPTED, sentences

train_app = typer.Typer()


@train_app.command(rich_help_panel=WITHOUT_SERVER)
def train(
    pairs: options.PairsFile,
    model: options.Model,
    output: Annotated[Path, typer.Option(help="The folder of the tuned model; a broken off run in it goes on.")],
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    max_length: options.MaxLength = None,
    seed: options.Seed = options.DEFAULT_SEED,
    held_out: options.HeldOut = options.DEFAULT_HELD_OUT,
    settings: options.Settings = None,
    mapping: options.Mapped = None,
    corpus: options.Corpus = None,
    save_every: options.SaveEvery = options.DEFAULT_SAVE_EVERY,
    processes: options.NumProcesses = AUTO,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on a file of pairs, here and without a server."""
    given = {"n_epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    with sentences():
        config = options.config_of(given, settings)
        folder = Hub.from_env(os.environ).folder(model)
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        with busy("Loading"):
            from infonce.peak_memory import peak_memory_bytes
            from infonce.terminal import show, watching
            from infonce.tuning import tune
            from infonce.tuning_order import Order

        order = Order(
            pairs=pairs,
            model=folder,
            model_name=None if folder == Path(model) else model,
            output=output,
            config=config,
            encoder=EncoderConfig(max_seq_length=max_length),
            held_out=held_out,
            save_every_seconds=save_every,
            processes=wanted_processes("processes", processes),
            mapping=None if mapping is None else FieldMapping.from_json(mapping),
            corpus=corpus,
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
