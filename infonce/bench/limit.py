"""What the machine's products allow: how fast those of an encoder run here, and how long the texts of batches are."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from infonce.batches import PairTable
from infonce.calibrate import median_seconds
from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.flops import Encoded
from infonce.pairs import Pair

_PRODUCT_TOKENS: Final = 2_048  # of a chunk on a CPU
_PRODUCT_ROUNDS: Final = 4
_DTYPES: Final = {Precision.FLOAT32: torch.float32, Precision.BF16: torch.bfloat16}


def product_rates(encoded: Encoded, device: torch.device) -> dict[Precision, float]:
    """GFLOP/s of an encoder's own products over a chunk of tokens, by precision."""
    return {precision: _rate(encoded, device, dtype=dtype) for precision, dtype in _DTYPES.items()}


def _rate(encoded: Encoded, device: torch.device, *, dtype: torch.dtype) -> float:
    seconds = 0.0
    for (inputs, outputs), count in encoded.shapes.items():
        left = torch.ones(_PRODUCT_TOKENS, inputs, device=device, dtype=dtype)
        right = torch.ones(outputs, inputs, device=device, dtype=dtype)
        run = partial(nn.functional.linear, left, right)
        seconds += count * median_seconds(run, _PRODUCT_ROUNDS, device=device)
    return 2.0 * _PRODUCT_TOKENS * encoded.num_parameters / seconds / 1e9


def lengths_of_batches(
    encoder: Encoder, pairs: Sequence[Pair], *, batches: Sequence[Sequence[int]]
) -> list[NDArray[np.int64]]:
    """The tokens of the distinct texts of each batch."""
    table = PairTable.build(pairs, prompts=encoder.layout.prompts, max_negatives=0)
    lengths = encoder.tokenize(table.rows).lengths
    return [lengths[table.batch(np.asarray(batch, dtype=np.int64)).rows] for batch in batches]
