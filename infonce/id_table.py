"""From an id to its row, in 16 bytes an id instead of a dictionary's hundred."""

from collections.abc import Sequence

import numpy as np


class IdTable:
    """The rows of distinct ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
        self._ids = ids
        self._rows = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._rows]

    def row(self, id: str) -> int | None:
        """Where the id stands, if it does."""
        place = int(np.searchsorted(self._hashes, hash(id)))
        while place < len(self._ids) and self._hashes[place] == hash(id):  # two ids may share a hash
            row = int(self._rows[place])
            if self._ids[row] == id:
                return row
            place += 1
        return None
