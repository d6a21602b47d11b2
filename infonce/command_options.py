"""Options that commands share, with the words of their help."""

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_CACHE: Final = "~/.cache/infonce"

Cache = Annotated[
    Path, typer.Option(help="Where embeddings are kept for the next time, by model.", envvar="INFONCE_CACHE")
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a text that are read; the model's if left out.")]
Precision = Annotated[str, typer.Option(help="What vectors are computed in: float32, bf16, int8.")]
AsJson = Annotated[bool, typer.Option("--json", help="End with one line: a JSON object.")]
