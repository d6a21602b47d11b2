"""How the command line tells a user's mistake: one sentence on stderr, never a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from infonce.errors import InfonceError

FAILED, INTERRUPTED = 1, 130


@contextmanager
def sentences(kinds: tuple[type[Exception], ...] = (InfonceError,)) -> Iterator[None]:
    """What the user did wrong, an error of these kinds or of files, is one sentence on stderr, with exit code 1."""
    try:
        yield
    except kinds as error:
        print(f"infonce: {error}", file=sys.stderr, flush=True)
        raise typer.Exit(FAILED) from None
    except BrokenPipeError:  # whoever read our output has enough
        raise
    except OSError as error:
        print(f"infonce: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr, flush=True)
        raise typer.Exit(FAILED) from None
