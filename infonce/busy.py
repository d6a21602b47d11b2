"""How a command shows on stderr that it is at work: a moving line, and notes that stay."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status


class Busy:
    """Says what is going on; calling it changes the moving line, which only a terminal shows."""

    def __init__(self, status: "Status") -> None:
        self._status = status

    def __call__(self, text: str) -> None:
        self._status.update(f"{text} …")

    def note(self, text: str) -> None:
        """A line of its own says so, in a log file too."""
        self._status.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def busy(what: str) -> Iterator[Busy]:
    """Stderr shows what is going on, loading torch included."""
    from rich.console import Console  # a worker that only starts should not pay for it

    with Console(stderr=True).status(f"{what} …") as status:
        yield Busy(status)
