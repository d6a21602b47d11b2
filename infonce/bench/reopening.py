"""How long a gateway takes to open a large collection again, from files that the system still holds in memory."""

from statistics import median
from typing import Final

from infonce.bench.callers import call
from infonce.bench.gateway import Gateway
from infonce.bench.neighbours import Vectors
from infonce.bench.report import OURS, Column, Row
from infonce.bench.stored import Collection, encoded

OPENING_COLUMNS: Final = (
    Column(heading="opened", key="name"),
    Column(heading="first answer, s", key="seconds", form=".3f"),
    Column(heading="memory of its own, ÷ vectors", key="private_share", form=".2f"),
    Column(heading="rounds", key="rounds", form="d"),
)
_OTHERS: Final = 9
"""Collections that are asked for in between: a gateway keeps eight of them open."""


class Reopened:
    """The times of all rounds."""

    def __init__(self, served: Gateway, collection: Collection, *, query: Vectors) -> None:
        self._served, self._collection = served, collection
        self._body = {"vector": encoded(query)}
        self._others = [Collection(served.url, f"other-{number}") for number in range(_OTHERS)]
        self._seconds: dict[str, list[float]] = {}
        self._bytes: dict[str, list[int]] = {}
        for other in self._others:
            other.make(model=None, dimension=2)

    def round(self, name: str) -> None:
        """The collection was closed in favour of others, and asked again."""
        for other in self._others:
            call(f"{other.url}/query", [{"vector": [1.0, 0.0]}], callers=1)
        before = self._served.private_bytes
        seconds = call(f"{self._collection.url}/query", [self._body], callers=1).seconds
        self._seconds.setdefault(name, []).append(seconds)
        self._bytes.setdefault(name, []).append(self._served.private_bytes - before)

    def rows(self, own_bytes: int) -> list[Row]:
        """A row for each state of the collection; the most memory, for what is freed may be used again."""
        return [
            {
                "kind": "opening",
                "side": OURS,
                "name": name,
                "seconds": median(seconds),
                "private_share": max(self._bytes[name]) / own_bytes,
                "rounds": len(seconds),
            }
            for name, seconds in self._seconds.items()
        ]
