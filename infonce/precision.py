"""What matrix products are computed in, and with which attention."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from infonce.config import Attention, Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What was chosen, and the seconds that decided it."""

    precision: Precision
    attention: Attention
    seconds: dict[str, float] = field(default_factory=dict)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which products run in `precision`; `auto` must have been resolved."""
    assert precision is not Precision.AUTO, "measure the precision first"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16)
