"""What the commands share: how a home is named, and how a mistake is said."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from infonce.errors import InfonceError
from service.errors import ServiceError
from service.store.errors import StoreError

DEFAULT_HOME = "~/.infonce"
FAILED, INTERRUPTED = 1, 130

Home = Annotated[Path, typer.Option(help="Where everything is kept.", envvar="INFONCE_HOME")]


@contextmanager
def sentences() -> Iterator[None]:
    """What the user did or configured wrong is said in one sentence on stderr, with exit code 1."""
    try:
        yield
    except (ServiceError, StoreError, InfonceError) as error:
        print(f"infonce: {error}", file=sys.stderr, flush=True)
        raise typer.Exit(FAILED) from None
