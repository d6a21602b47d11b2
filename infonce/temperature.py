"""A temperature that is learnt with the weights."""

import math

import torch
from torch import Tensor, nn

from infonce.limits import check_range
from infonce.loss_config import MAX_TEMPERATURE, MIN_LEARNED_TEMPERATURE


class LearnedTemperature(nn.Module):
    """Holds `logit_scale` = log(1/τ), the form in which CLIP (Radford et al. 2021, 2.5) learns it.

    Give it no weight decay and a learning rate of its own, and call `clamp` after every optimizer step.
    """

    def __init__(self, temperature: float) -> None:
        """It starts at `temperature`; raises `ConfigError` unless that is a number between 0.01 and 10."""
        check_range("temperature", temperature, low=MIN_LEARNED_TEMPERATURE, high=MAX_TEMPERATURE)
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self) -> Tensor:
        """The temperature with its gradient; shape ()."""
        return torch.exp(-self.logit_scale)

    @torch.no_grad()
    def clamp(self) -> None:
        """The temperature is at least 0.01: the weights are moved, so that no gradient is cut off in between."""
        self.logit_scale.clamp_(max=-math.log(MIN_LEARNED_TEMPERATURE))
