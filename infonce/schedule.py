"""What a run will compute, step by step: the very batches and chunks, counted without computing any of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from infonce.batches import Ids, batch_rows
from infonce.config import TrainConfig
from infonce.errors import Stopped
from infonce.flops import Encoded
from infonce.graph_budget import GraphBudget
from infonce.prepare import Prepared
from infonce.tokens import chunks

_AGAIN = 4 / 3
"""Of a chunk whose graph is not kept: its second forward pass is a third of what forward and backward take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What one batch asks of the machine."""

    num_tokens: int
    num_chunks: int
    kept_tokens: int
    """Padding included, of the chunks whose graphs are in memory together."""
    work: float
    """In floating point operations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counting:
    """Tells the load of any batch of a run."""

    ready: Prepared
    encoded: Encoded
    budget: GraphBudget

    @property
    def config(self) -> TrainConfig:
        """Without any `auto`."""
        return self.ready.config

    def pairs(self, step: int) -> Ids:
        """The pairs of that step, counted from 0."""
        epoch, number = divmod(step, self.ready.steps_per_epoch)
        size, seed = int(self.config.batch_size), self.config.seed
        return batch_rows(len(self.ready.table), size, seed=seed, epoch=epoch, batch=number)

    def load(self, pairs: Ids) -> Load:
        """The load of the batch of these pairs."""
        lengths = self.ready.tokens.lengths[self.ready.table.batch(pairs, loss=self.config.loss).rows]
        parts = [lengths[rows] for rows in chunks(lengths, int(self.config.max_chunk_tokens))]
        num_kept = self.budget.num_kept(parts)
        again, kept = parts[: len(parts) - num_kept], parts[len(parts) - num_kept :]
        return Load(
            num_tokens=int(lengths.sum()),
            num_chunks=len(parts),
            kept_tokens=sum(len(part) * max(1, int(part.max())) for part in kept),
            work=sum(map(self.encoded.flops, kept)) + _AGAIN * sum(map(self.encoded.flops, again)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The loads of all steps of a run."""

    loads: tuple[Load, ...]

    @classmethod
    def count(cls, counting: Counting, *, stop: Callable[[], bool]) -> Self:
        """Every step was looked at.

        Raises:
            Stopped: `stop()` was true between two of them.
        """
        loads = []
        for step in range(counting.config.num_steps(len(counting.ready.table))):
            if stop():
                raise Stopped("stopped while the steps were counted")
            loads.append(counting.load(counting.pairs(step)))
        return cls(loads=tuple(loads))

    @property
    def trained_tokens(self) -> int:
        """That the steps read, each as often as it comes."""
        return sum(load.num_tokens for load in self.loads)

    @property
    def num_chunks(self) -> int:
        """That the steps are computed in."""
        return sum(load.num_chunks for load in self.loads)

    @property
    def work(self) -> NDArray[np.float64]:
        """Of each step; (steps,)."""
        return np.array([load.work for load in self.loads])

    @property
    def heaviest(self) -> int:
        """The step that needs most memory."""
        return max(range(len(self.loads)), key=lambda step: (self.loads[step].kept_tokens, self.loads[step].work))
