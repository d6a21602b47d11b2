"""How much memory the graphs of a batch may take, and how many of its chunks that lets keep theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from infonce.config import TrainConfig
from infonce.encoder import Encoder
from infonce.free_memory import free_bytes
from infonce.gradcache import graph_bytes
from infonce.precision import autocast
from infonce.tokens import TokenizedTexts

FREE_SHARE: Final = 0.5
"""Of the memory that is free at the start; the rest is for the optimizer, the loss, and whoever else is there."""


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
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes() // num_processes
    return round(FREE_SHARE * free / 1e9, 2)


def _padded(lengths: NDArray[np.int64]) -> int:
    return len(lengths) * max(1, int(lengths.max(initial=0)))
