"""Token states become one vector per text; padding never counts."""

import torch
from torch import Tensor

from infonce.config import Pooling


def pool(states: Tensor, mask: Tensor, *, pooling: Pooling) -> Tensor:
    """One vector per text.

    Shape:
        states (n, L, D), mask (n, L) bool with padding on the right; returns (n, D).
    A text without tokens gives a zero vector.
    """
    match pooling:
        case Pooling.MEAN:
            return _mean(states, mask)
        case Pooling.CLS:
            return states[:, 0] * mask[:, :1]
        case Pooling.LAST:
            return _last(states, mask)
        case Pooling.AUTO:
            raise AssertionError("pooling is resolved when a model is loaded")


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)  # (n, L, 1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _last(states: Tensor, mask: Tensor) -> Tensor:
    last = (mask.sum(dim=1) - 1).clamp(min=0)  # (n,)
    rows = torch.arange(len(states), device=states.device)
    return states[rows, last] * mask[:, :1]
