"""How much an encoder computes: floating point operations, counted from its layers and the lengths of texts."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from infonce.encoder import Encoder

Shapes = Counter[tuple[int, int]]


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
