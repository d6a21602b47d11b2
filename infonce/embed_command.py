"""`infonce embed`: texts become vectors, here and without a server."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infonce.busy import busy
from infonce.command_options import (
    DEFAULT_PRECISION,
    WITHOUT_SERVER,
    AsJson,
    MaxLength,
    Precision,
    precision_of,
)
from infonce.config import EncoderConfig, Side
from infonce.errors import ConfigError, Stopped
from infonce.hub import Hub
from infonce.limits import member
from infonce.sentences import INTERRUPTED, sentences

embed_app = typer.Typer()
STDIN = Path("-")


@embed_app.command(rich_help_panel=WITHOUT_SERVER)
def embed(
    texts: Annotated[Path, typer.Argument(help="A text a line, or documents in .jsonl; - is standard input.")],
    model: Annotated[str, typer.Option(help="A name, or a folder.")],
    output: Annotated[
        Path | None, typer.Option(help="A new file: .npy, or .jsonl; JSON lines on stdout if left out.")
    ] = None,
    side: Annotated[str, typer.Option(help="Whose prompt is put before each text: query or document.")] = "document",
    max_length: MaxLength = None,
    precision: Precision = DEFAULT_PRECISION,
    as_json: AsJson = False,
) -> None:
    """Embed texts: a unit vector each, in their order."""
    with sentences():
        if as_json and output is None:
            message = "--json ends with a line of its own, and the vectors would stand before it; name an --output"
            raise ConfigError(message, param="output")
        how, of_side = precision_of(precision), member(Side, "side", value=side)
        folder = Hub.from_env(os.environ).folder(model)
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # what may be fetched has been
        with busy("Loading"):
            from infonce.embed_file import EmbedOrder, embed_file
            from infonce.terminal import watching

        order = EmbedOrder(
            texts=None if texts == STDIN else texts,
            model=folder,
            output=output,
            side=of_side,
            encoder=EncoderConfig(max_seq_length=max_length),
            precision=how,
        )
        try:
            with watching() as watch:
                embedded = embed_file(order, watch)
        except Stopped:
            print("infonce: stopped; no file was written", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps({"output": str(output), "model": model, **embedded.to_dict()}), flush=True)
    elif output is not None:
        shape = f"{embedded.texts:,} vectors of {embedded.dimensions} dimensions"
        print(f"{output} has {shape} ({embedded.texts / embedded.seconds:.1f} texts/s).", flush=True)
