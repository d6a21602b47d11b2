"""AdamW with the groups and the schedule of a fine-tune."""

import math

import torch
from torch import nn

from infonce.config import TrainConfig

_NO_DECAY = ("bias", "norm")  # decaying an offset or a scale pulls it to 0, which is not its neutral value


def build_optimizer(backbone: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over every weight; offsets and norms do not decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in backbone.named_parameters():
        (free if any(word in name.lower() for word in _NO_DECAY) else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=float(config.learning_rate), fused=True)


def learning_rate(step: int, total_steps: int, *, config: TrainConfig) -> float:
    """Linear from 0 over the warm-up's share of all steps, then linear to 0 behind the last step."""
    warmup = math.ceil(total_steps * config.warmup_ratio)
    peak = float(config.learning_rate)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (total_steps - step) / max(1, total_steps - warmup)
