"""What the machine's products allow: how much a pass over the pairs computes, and how fast products run here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from infonce.batches import PairTable
from infonce.calibrate import median_seconds
from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.pairs import Pair

Shapes = Counter[tuple[int, int]]

_PRODUCT_TOKENS: Final = 2_048  # of a chunk on a CPU
_PRODUCT_ROUNDS: Final = 4
_DTYPES: Final = {Precision.FLOAT32: torch.float32, Precision.BF16: torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The parts of an encoder that decide how much it computes."""

    shapes: Shapes
    """(inputs, outputs) of every layer that multiplies, and how many there are."""
    num_layers: int
    width: int

    @classmethod
    def of(cls, encoder: Encoder) -> "Encoded":
        """Read off the backbone; a pooler, whose output nothing uses, is left out."""
        config: Any = encoder.backbone.config
        layers = {
            name: module
            for name, module in encoder.backbone.named_modules()
            if isinstance(module, nn.Linear) and "pooler" not in name
        }
        return cls(
            shapes=Counter((layer.in_features, layer.out_features) for layer in layers.values()),
            num_layers=int(config.num_hidden_layers),
            width=int(config.hidden_size),
        )

    @property
    def num_parameters(self) -> int:
        """Those that multiply: neither embeddings nor offsets."""
        return sum(inputs * outputs * count for (inputs, outputs), count in self.shapes.items())

    def flops(self, lengths: NDArray[np.int64]) -> float:
        """Forward and backward over texts of these lengths, without any padding."""
        products = 6.0 * self.num_parameters * float(lengths.sum())
        return products + 12.0 * self.num_layers * self.width * float((lengths.astype(np.float64) ** 2).sum())

    def rates(self, device: torch.device) -> dict[Precision, float]:
        """GFLOP/s of the layers' own products over a chunk of tokens, by precision."""
        return {precision: self._rate(device, dtype) for precision, dtype in _DTYPES.items()}

    def _rate(self, device: torch.device, dtype: torch.dtype) -> float:
        seconds = 0.0
        for (inputs, outputs), count in self.shapes.items():
            left = torch.ones(_PRODUCT_TOKENS, inputs, device=device, dtype=dtype)
            right = torch.ones(outputs, inputs, device=device, dtype=dtype)
            run = partial(nn.functional.linear, left, right)
            seconds += count * median_seconds(run, _PRODUCT_ROUNDS, device=device)
        return 2.0 * _PRODUCT_TOKENS * self.num_parameters / seconds / 1e9


def lengths_of_batches(
    encoder: Encoder, pairs: Sequence[Pair], *, batches: Sequence[Sequence[int]]
) -> list[NDArray[np.int64]]:
    """The tokens of the distinct texts of each batch."""
    table = PairTable.build(pairs, prompts=encoder.layout.prompts, max_negatives=0)
    lengths = encoder.tokenize(table.rows).lengths
    return [lengths[table.batch(np.asarray(batch, dtype=np.int64)).rows] for batch in batches]
