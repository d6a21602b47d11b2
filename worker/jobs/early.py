"""What an index job has embedded can be found before it ends: told to the parent block by block."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.early import EarlyVectors
from worker.progress import Progress

MAX_EARLY: Final = 100_000
"""Documents of a job. Each gateway keeps them in memory beside its index, 150 MB of 384 dimensions, and compares every
query with all of them; those beyond are found once the job has made its index."""


class EarlyBlocks:
    """Tells the parent of one block after another."""

    def __init__(self, order: Mapping[str, Any], progress: Progress, *, fingerprint: str) -> None:
        self._order, self._progress, self._fingerprint = order, progress, fingerprint
        self._folder = Path(order["early"])
        self._folder.mkdir(exist_ok=True)
        self._num_blocks = self._num_told = 0

    def tell(self, sequences: Mapping[str, int], vectors: NDArray[np.float32]) -> None:
        """These documents can be found soon, if the collection answers by this model and not too many are told yet.

        Shape:
            vectors (n, D), a row for each of `sequences`, which say when it was written.
        """
        if not self._order["is_served"] or self._num_told >= MAX_EARLY:
            return
        made = np.ascontiguousarray(vectors, dtype="<f4")
        path = self._folder / f"{self._num_blocks}.json"
        block = EarlyVectors(
            collection=self._order["collection"],
            model=self._order["model"]["name"],
            fingerprint=self._fingerprint,
            sequences=sequences,
            vectors={id: row.tobytes() for id, row in zip(sequences, made, strict=True)},
        )
        block.save(path)
        self._progress.vectors(path)
        self._num_blocks += 1
        self._num_told += len(sequences)
