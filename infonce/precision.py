"""What matrix products are computed in, with which attention, and how many tokens at once."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch

from infonce.config import Attention, Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What was chosen, and the seconds that decided it."""

    precision: Precision
    attention: Attention
    max_chunk_tokens: int
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values."""
        precision, attention = Precision(values["precision"]), Attention(values["attention"])
        size, seconds = int(values["max_chunk_tokens"]), dict(values["seconds"])
        return cls(precision=precision, attention=attention, max_chunk_tokens=size, seconds=seconds)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which products run in `precision`; `auto` must have been resolved."""
    assert precision is not Precision.AUTO, "measure the precision first"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16)
