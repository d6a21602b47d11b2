"""How much memory the graphs of a batch may take, and how many of its chunks that lets keep theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from infonce.config import TrainConfig
from infonce.encoder import Encoder
from infonce.gradcache import graph_bytes
from infonce.precision import autocast
from infonce.tokens import TokenizedTexts

FREE_SHARE: Final = 0.5
"""Of the memory that is free at the start; the rest is for the optimizer, the loss, and whoever else is there."""

_CGROUP: Final = Path("/sys/fs/cgroup")  # of a container, version 2
_UNKNOWN_BYTES: Final = 4 << 30  # where the system does not tell


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphBudget:
    """What may be kept, and what a padded token costs."""

    bytes: int
    bytes_per_token: float

    @classmethod
    def measure(cls, encoder: Encoder, tokens: TokenizedTexts, *, config: TrainConfig) -> "GraphBudget":
        """The budget for texts like these; the longest one, which costs most a token, was encoded.

        The config must be resolved.
        """
        rows = np.argsort(tokens.lengths, kind="stable")[-1:]

        def embed(rows: NDArray[np.int64]) -> torch.Tensor:
            with autocast(encoder.device, config.precision):
                return encoder.embed(tokens, rows)

        held = graph_bytes(embed, rows, parameters=list(encoder.backbone.parameters()))
        return cls(bytes=int(float(config.max_graph_gb) * 1e9), bytes_per_token=held / _padded(tokens.lengths[rows]))

    def num_kept(self, lengths: Sequence[NDArray[np.int64]]) -> int:
        """Of how many of these chunks, counted from the last, the graphs fit together.

        Shape:
            lengths: of each chunk the token counts of its texts.
        """
        costs = np.cumsum([self.bytes_per_token * _padded(chunk) for chunk in reversed(lengths)])
        return int(np.searchsorted(costs, self.bytes, "right"))


def affordable_gb(device: torch.device, *, num_processes: int = 1) -> float:
    """What the graphs may take of the memory that is free on the device now; each of several processes has its GPU."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_bytes() // num_processes
    return round(FREE_SHARE * free / 1e9, 2)


def _free_bytes() -> int:
    """What can be allocated on this machine, within the limit of a container."""
    free = _UNKNOWN_BYTES
    if (path := Path("/proc/meminfo")).is_file():
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    if (limit := _CGROUP / "memory.max").is_file() and (most := limit.read_text().strip()) != "max":
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        free = min(free, max(0, int(most) - used + int(stat["inactive_file"])))  # file pages that would give way
    return free


def _padded(lengths: NDArray[np.int64]) -> int:
    return len(lengths) * max(1, int(lengths.max(initial=0)))
