"""Several processes that share one batch, so that together they compute what one process would.

Every process knows the whole batch, encodes its share of the chunks, and sees all vectors. Each then computes the
same loss over the whole batch, so the gradient of a vector is complete where it is, and the weights' gradients are
summed: nothing is averaged, scaled or offset by a rank.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Self:
        """The group that `torch.distributed` was initialised with, or this process alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(rank=dist.get_rank(), count=dist.get_world_size())
        return cls()

    def share(self, parts: Sequence[T]) -> list[T]:
        """Those of `parts` that this process works on; every part belongs to one process."""
        return list(parts[self.rank :: self.count])

    def sum(self, tensor: Tensor) -> None:
        """`tensor` is the sum over all processes, in all processes."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def any(self, flag: bool, *, device: torch.device) -> bool:
        """Whether the flag is set in any process; all of them ask."""
        return bool(self.largest(int(flag), device=device))

    def agree(self, number: int, *, device: torch.device) -> bool:
        """Whether all processes have the same number; all of them ask."""
        return not self.any(self.largest(number, device=device) != number, device=device)

    def largest(self, number: int, *, device: torch.device) -> int:
        """The largest number of all processes; all of them ask."""
        if self.count == 1:
            return number
        found = torch.tensor(number, device=device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return int(found.item())

    def joined(self, chunks: Sequence[NDArray[np.int64]], parts: Sequence[Tensor], *, device: torch.device) -> Tensor:
        """The vectors of all chunks in the order of their rows, without a graph, in all processes.

        Shape:
            chunks: together each of the numbers 0 … U - 1 once; parts: the vectors (n, D) of the chunks that are this
            process's share. Returns (U, D).
        """
        width = self.largest(parts[0].shape[1] if parts else 0, device=device)  # a small batch may leave us no chunk
        dtype = parts[0].dtype if parts else torch.float32
        vectors = torch.zeros(sum(map(len, chunks)), width, device=device, dtype=dtype)
        for rows, part in zip(self.share(chunks), parts, strict=True):
            vectors[torch.from_numpy(rows).to(device)] = part.detach()
        self.sum(vectors)  # a row is zero in every process but its own
        return vectors

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Every gradient is the sum over all processes; one that is missing counts as zero."""
        if self.count == 1:
            return
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in wanted if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message instead of hundreds
        self.sum(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
