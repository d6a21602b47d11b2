"""Several processes that share one batch, so that together they compute what one process would.

Every process knows the whole batch, encodes its share of the chunks, and sees all vectors. Each then computes the
same loss over the whole batch, so the gradient of a vector is complete where it is, and the weights' gradients are
summed: nothing is averaged, scaled or offset by a rank.

Linux and macOS, one machine. `nccl` is written for and has not run: no machine with two GPUs was at hand.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")

_MEETING_SECONDS: Final = 30.0
"""How long the first process waits for the others, all of which are at the door when it comes."""
_PATIENCE_SECONDS: Final = (1_800.0, 86_400.0)
"""How long the first process and the others wait in a gather: the others also while the first one evaluates, but
should one of them hang (not die, which is noticed at once) the first one ends the run."""

_broken = threading.Event()
"""Set before a group is aborted: what a gather on a GPU gives after that is not a sum, and may look like one."""


def join_group(processes: "Processes", meeting: Path, *, device: torch.device) -> None:
    """All processes that named the same new file are one group; it talks over loopback, or between GPUs.

    Raises:
        RuntimeError: another one did not come.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(device)
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")  # else a lost peer ends this process, unexplained
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform.startswith("linux") else "lo0")
    _broken.clear()
    patience = _PATIENCE_SECONDS[processes.rank > 0]
    store = dist.FileStore(str(meeting), processes.count)  # type: ignore[attr-defined]  # a file needs no port
    dist.init_process_group(
        backend,
        store=store,
        rank=processes.rank,
        world_size=processes.count,
        timeout=timedelta(seconds=_MEETING_SECONDS if processes.rank == 0 else patience),
    )
    assert dist.group.WORLD is not None
    dist.group.WORLD.set_timeout(timedelta(seconds=patience))


def break_group() -> None:
    """No gather waits for a lost process: it raises `RuntimeError`; with gloo once that one's sockets are closed."""
    _broken.set()
    if dist.group.WORLD is not None:
        dist.group.WORLD.abort()


def leave_group() -> None:
    """This process is alone, and may join another group; the other processes are gone, or leave as well."""
    if not dist.is_initialized():
        return
    if dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()  # a polite end would wait for processes that are gone
    else:
        dist.destroy_process_group()


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
            _reduce(tensor, dist.ReduceOp.SUM)

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
        _reduce(found, dist.ReduceOp.MAX)
        return int(found.item())

    def from_first(self, make: Callable[[], dict[str, Any]], *, device: torch.device) -> dict[str, Any]:
        """What the first process makes, plain JSON values, in all processes; all of them ask."""
        if self.count == 1:
            return make()
        said = json.dumps(make()).encode() if self.rank == 0 else b""
        letters = torch.zeros(self.largest(len(said), device=device), dtype=torch.uint8, device=device)
        letters[: len(said)] = torch.tensor(list(said), dtype=torch.uint8, device=device)
        self.sum(letters)  # all but the first have zeros
        made: dict[str, Any] = json.loads(bytes(letters.tolist()))
        return made

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
        """Every gradient is the sum over all processes; one that is missing in some counts as zero.

        One that is missing in all of them stays so: an optimizer would let the weight decay that has none.
        """
        if self.count == 1:
            return
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        there = torch.tensor([float(parameter.grad is not None) for parameter in wanted], device=wanted[0].device)
        parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in wanted]
        flat = torch.cat([there, *(part.flatten() for part in parts)])  # one message instead of hundreds
        self.sum(flat)
        there, *sums = torch.split(flat, [len(wanted), *(part.numel() for part in parts)])
        for parameter, part, found in zip(wanted, sums, there.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).clone() if found else None


def _reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    """`tensor` is reduced over all processes.

    Raises:
        RuntimeError: another process is gone; gloo says the same in its own words.
    """
    dist.all_reduce(tensor, op=operation)
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)  # so that an aborted gather cannot pass for a finished one
    if _broken.is_set():
        raise RuntimeError("another process of this run is gone")
