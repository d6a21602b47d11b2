"""The gradient of an undivided batch, with the encoder run in chunks (GradCache, Gao et al. 2021, arXiv 2101.06983).

A chunk is encoded, its vectors kept. The loss sees all vectors as leaves; their gradient goes back chunk by chunk.
The chunks whose graph fits the memory keep it; the others are encoded without one, and once more, with the same
random numbers, when their turn comes. Which chunks keep theirs changes time and memory and no bit of the gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from infonce.distributed import Processes
from infonce.errors import LossInputError, Stopped

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class GradCache:
    """How a batch is encoded."""

    embed: Callable[[Rows], Tensor]
    """The vectors (n, D) of n rows of the batch, with gradient where it is enabled; called again for the same rows
    it must draw the same numbers from the generators of PyTorch, and no others."""
    device: torch.device
    num_kept: Callable[[Sequence[Rows]], int] = len
    """Of how many of these chunks, counted from the last, the graph is kept."""
    stop: Callable[[], bool] = lambda: False
    processes: Processes = field(default_factory=Processes)

    def backward(self, chunks: Sequence[Rows], loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The batch's loss and vectors, with the gradient added to all that `embed` and `loss` depend on.

        With several processes, what `embed` depends on has only this process's share of the gradient:
        `Processes.sum_gradients` makes it whole. What `loss` alone depends on has all of it already.

        Shape:
            chunks: together each of the numbers 0 … U - 1 once; `loss` maps vectors (U, D) to a scalar. Returns
            that scalar and those vectors, without a graph.
        Raises:
            LossInputError: the chunks leave a row out, or hold one twice.
            Stopped: `stop()` was true at a chunk's edge; the gradients are of no use.
        """
        _check_chunks(chunks)
        own = self.processes.share(chunks)
        first_kept = len(own) - self.num_kept(own)
        states: list[_RandomState] = []
        parts: list[Tensor] = []
        for number, rows in enumerate(own):
            self._heed_stop()
            states.append(_RandomState.capture(self.device))
            with torch.set_grad_enabled(number >= first_kept):
                parts.append(self.embed(rows))
        vectors = self.processes.joined(chunks, parts, device=self.device).requires_grad_()  # (U, D)
        value = loss(vectors)
        value.backward()  # type: ignore[no-untyped-call]
        assert vectors.grad is not None, "the loss depends on the vectors"
        for number in reversed(range(len(own))):
            self._heed_stop()
            part = parts.pop()
            if number < first_kept:
                with states[number].replayed():
                    part = self.embed(own[number])
            part.backward(vectors.grad[torch.from_numpy(own[number]).to(self.device)])  # type: ignore[no-untyped-call]
        return value.detach(), vectors.detach()

    def _heed_stop(self) -> None:
        if self.stop():
            raise Stopped("stopped at a chunk's edge; the unfinished step was dropped")


def _check_chunks(chunks: Sequence[Rows]) -> None:
    rows = np.sort(np.concatenate(chunks)) if len(chunks) else np.empty(0, dtype=np.int64)
    if not np.array_equal(rows, np.arange(len(rows))) or not len(rows):
        held = f"{len(rows)} rows, of which {len(np.unique(rows))} are distinct"
        raise LossInputError(f"the chunks hold {held}; expected each of 0 … U - 1 once, and at least one")


def graph_bytes(embed: Callable[[Rows], Tensor], rows: Rows, *, parameters: Sequence[Tensor]) -> int:
    """How much the graph behind the vectors of `rows` keeps in memory until its backward, the parameters apart."""
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        vectors = embed(rows)
    del vectors
    for parameter in parameters:
        held.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(held.values())


@dataclass(frozen=True, slots=True)
class _RandomState:
    """What the generators stood at before a chunk, so that its dropout can be drawn once more."""

    device: torch.device
    cpu: Tensor
    accelerator: Tensor | None

    @classmethod
    def capture(cls, device: torch.device) -> "_RandomState":
        accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(device, torch.get_rng_state(), accelerator)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Inside, the same numbers are drawn again; afterwards the generators stand where they stood."""
        devices = [self.device] if self.accelerator is not None else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self.cpu)
            if self.accelerator is not None:
                torch.cuda.set_rng_state(self.accelerator, self.device)
            yield
