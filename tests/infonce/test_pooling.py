"""Pooling ignores padding and survives an empty text."""

import pytest
import torch

from infonce.config import Pooling
from infonce.pooling import pool

LENGTHS = [4, 1, 2, 0]


@pytest.mark.parametrize("pooling", [Pooling.CLS, Pooling.MEAN, Pooling.LAST])
def test_equals_pooling_each_text_without_its_padding(pooling: Pooling) -> None:
    states = torch.randn(len(LENGTHS), 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(4)[None, :] < torch.tensor(LENGTHS)[:, None]
    pooled = pool(states, mask, pooling=pooling)
    for row, length in enumerate(LENGTHS):
        real = states[row, :length]
        alone = {
            Pooling.CLS: real[:1].sum(0),
            Pooling.LAST: real[-1:].sum(0),
            Pooling.MEAN: real.sum(0) / max(1, length),
        }
        torch.testing.assert_close(pooled[row], alone[pooling])
