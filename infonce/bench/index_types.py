"""What each type of index takes: seconds to build and to open, bytes on disk and in memory, and what it misses."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from infonce.bench.neighbours import Neighbours
from infonce.bench.opening import Opened, open_and_ask
from infonce.bench.processes import in_fresh_process
from infonce.bench.report import OURS, Column, Row
from infonce.bench.rivals import K
from infonce.bench.vectors import Searched
from infonce.busy import Busy
from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType

TYPE_COLUMNS: Final = (
    Column(heading="type", key="name"),
    Column(heading="built in, s", key="build_seconds", form=",.1f"),
    Column(heading="opened in, s", key="open_seconds", form=".3f"),
    Column(heading=f"recall@{K}", key="recall", form=".4f"),
    Column(heading="on disk, ÷ vectors", key="disk_share", form=".2f"),
    Column(heading="in memory, ÷ vectors", key="resident_share", form=".2f"),
    Column(heading="its own of that, ÷ vectors", key="private_share", form=".2f"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Built:
    """An index on disk, and what opening it took, a value a round."""

    type: IndexType
    folder: Path
    build_seconds: float
    rounds: list[Opened] = field(default_factory=list)


class TypesMeasured:
    """Indexes of several types over the same vectors, opened again and again, each time in a fresh process."""

    def __init__(self, searched: Searched, built: Sequence[_Built], *, truth: Neighbours) -> None:
        self._searched = searched
        self._built = built
        self._truth = truth

    @classmethod
    @contextmanager
    def built(
        cls, searched: Searched, types: Sequence[IndexType], *, truth: Neighbours, say: Busy
    ) -> Iterator["TypesMeasured"]:
        """They stand on disk until the end."""
        ids = [str(place) for place in range(len(searched.vectors))]
        with tempfile.TemporaryDirectory(prefix="infonce-bench-") as place:
            built = []
            for type in dict.fromkeys(types):
                say(f"Building {type}")
                began = perf_counter()
                index = VectorIndex.build(searched.vectors, ids, config=IndexConfig(type=type))
                seconds = perf_counter() - began
                index.save(folder := Path(place) / type)
                built.append(_Built(type=type, folder=folder, build_seconds=seconds))
            yield cls(searched, built, truth=truth)

    def round(self, *, backwards: bool) -> None:
        """Each was opened once more, from pages that the system still held, and asked all queries."""
        for one in self._built[:: -1 if backwards else 1]:
            one.rounds.append(in_fresh_process(open_and_ask, one.folder, self._searched.queries, k=K))

    def rows(self) -> list[Row]:
        """A row for each type; bytes as shares of what the vectors themselves take."""
        return [self._row(one) for one in self._built]

    def _row(self, one: _Built) -> Row:
        own = self._searched.vectors.nbytes
        row: dict[str, Any] = {
            "kind": "type",
            "side": OURS,
            "name": str(one.type),
            "build_seconds": one.build_seconds,
            "open_seconds": median(opened.seconds for opened in one.rounds),
            "recall": self._truth.recall(one.rounds[0].found),
            "disk_share": sum(path.stat().st_size for path in one.folder.iterdir()) / own,
            "resident_share": median(opened.resident_bytes for opened in one.rounds) / own,
        }
        private = [opened.private_bytes for opened in one.rounds if opened.private_bytes is not None]
        return row | ({"private_share": median(private) / own} if private else {})
