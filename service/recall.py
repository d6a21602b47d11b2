"""How much of what is nearest an approximate index finds, watched on some of the queries that it serves."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Full, Queue
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from infonce.filters import Filter

if TYPE_CHECKING:
    from infonce.index import Hits
    from infonce.live_index import LiveIndex

EVERY: Final = 100
"""One query of so many is compared with everything, which takes as long as the index saves."""

_END_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A query, and what the index found for it."""

    live: "LiveIndex"
    vector: NDArray[np.float32]
    """(D,)"""
    k: int
    filter: Filter | None
    hits: "Hits"


class RecallWatch:
    """Compares in a thread of its own, one query at a time; who comes meanwhile is not looked at."""

    def __init__(self, observe: Callable[[str, float], None], *, every: int = EVERY) -> None:
        """`observe` is told the type of an index and the recall of a query, from 0 to 1."""
        self._observe = observe
        self._every = every
        self._num_asked = 0
        self._waiting: Queue[Asked | None] = Queue(maxsize=1)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def offer(self, asked: Asked) -> None:
        """The query may be looked at; one that was compared with all that its filter allows is not."""
        if asked.hits.is_exact:
            return
        with self._lock:
            is_due = self._num_asked % self._every == 0
            self._num_asked += 1
            if not is_due:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(asked)
        except Full:
            return

    def close(self) -> None:
        """Nothing more is compared."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=_END_SECONDS)
        except Full:  # a comparison lasts longer than anybody waits for at the end
            return
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while (asked := self._waiting.get()) is not None:
            self._observe(asked.live.main.index.type.value, recall(asked))


def recall(asked: Asked) -> float:
    """The share of the nearest documents that the index found; of equally near ones any counts."""
    [exact] = asked.live.search(asked.vector[None], asked.k, asked=asked.filter, exact=True)
    if not exact.ids:
        return 1.0
    furthest = exact.scores[-1] - 1e-6  # both are inner products of float32, added up in different orders
    return min(1.0, sum(score >= furthest for score in asked.hits.scores) / len(exact.ids))
