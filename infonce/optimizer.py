"""AdamW with the groups and the schedule of a fine-tune."""

import math
from typing import Final

import torch
from torch import nn

from infonce.config import TrainConfig
from infonce.temperature import LearnedTemperature

TEMPERATURE_LEARNING_RATE: Final = 5e-3
"""The peak for log(1/τ): the rate of the weights would move it by a few hundredths in a whole fine-tune."""

_NO_DECAY = ("bias", "norm")  # decaying an offset or a scale pulls it to 0, which is not its neutral value


def build_optimizer(
    backbone: nn.Module, config: TrainConfig, *, temperature: LearnedTemperature | None = None
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over every weight that is trained; offsets, norms and temperature do not decay.

    Each group has a `peak`, the learning rate that the schedule's share is taken of.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    trained = ((name, parameter) for name, parameter in backbone.named_parameters() if parameter.requires_grad)
    for name, parameter in trained:
        (free if any(word in name.lower() for word in _NO_DECAY) else decayed).append(parameter)
    peak = float(config.learning_rate)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "peak": peak},
        {"params": free, "weight_decay": 0.0, "peak": peak},
    ]
    if temperature is not None:
        own = [temperature.logit_scale]
        groups.append({"params": own, "weight_decay": 0.0, "peak": TEMPERATURE_LEARNING_RATE})
    return torch.optim.AdamW(groups, lr=peak, fused=True)


def share_of_peak(step: int, total_steps: int, *, warmup_ratio: float) -> float:
    """Linear from 0 over the warm-up's share of all steps, then linear to 0 behind the last step."""
    warmup = math.ceil(total_steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (total_steps - step) / max(1, total_steps - warmup)
