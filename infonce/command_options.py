"""Options that commands share, with the words of their help."""

from pathlib import Path
from typing import Annotated, Final

import typer

from infonce import config
from infonce.errors import ConfigError
from infonce.limits import member

WITHOUT_SERVER: Final = "Without a server"
"""Under which heading of `infonce --help` the library's commands stand."""
DEFAULT_CACHE: Final = "~/.cache/infonce"
DEFAULT_PRECISION: Final = config.Precision.FLOAT32.value

Cache = Annotated[
    Path, typer.Option(help="Where embeddings are kept for the next time, by model.", envvar="INFONCE_CACHE")
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a text that are read; the model's if left out.")]
Precision = Annotated[str, typer.Option(help="What vectors are computed in: float32, bf16, int8.")]
AsJson = Annotated[bool, typer.Option("--json", help="End with one line: a JSON object.")]


def precision_of(text: str) -> config.Precision:
    """The precision that was named; the same vectors each time, so none that is measured.

    Raises:
        ConfigError: it is none, or `auto`.
    """
    found = member(config.Precision, "precision", value=text)
    if found is config.Precision.AUTO:
        message = "precision is 'auto', which another run may decide otherwise; name float32, bf16 or int8"
        raise ConfigError(message, param="precision")
    return found
