"""What the commands share: how a home is named, and how a mistake is said."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from infonce import sentences as library
from infonce.errors import InfonceError
from service.errors import ServiceError
from service.store.errors import StoreError

DEFAULT_HOME = "~/.infonce"
FAILED, INTERRUPTED = library.FAILED, library.INTERRUPTED
WITH_SERVER = "With a server (--url)"
STACK = "The service itself"
"""Under which headings of `infonce --help` the commands stand, beside the library's."""

Home = Annotated[Path, typer.Option(help="Where everything is kept.", envvar="INFONCE_HOME")]
OptionalHome = Annotated[
    Path | None, typer.Option(help="Of `infonce serve`, if INFONCE_DATABASE_URL is not set.", envvar="INFONCE_HOME")
]


def sentences() -> AbstractContextManager[None]:
    """What the user did or configured wrong is said in one sentence on stderr, with exit code 1."""
    return library.sentences((InfonceError, ServiceError, StoreError))
