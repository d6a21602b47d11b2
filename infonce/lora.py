"""A backbone trained through low-rank adapters of the library peft, which are part of its weights afterwards."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from infonce.encoder import Encoder
from infonce.lora_config import LoraConfig


@contextmanager
def adapted(encoder: Encoder, config: LoraConfig | None, *, seed: int) -> Iterator[None]:
    """Inside, only adapters on the encoder's linear layers are trained; behind it they are merged into its weights.

    They are drawn from `seed`. Without a config nothing happens.
    """
    if config is None:
        yield
        return
    import peft  # takes a second, which a full fine-tune should not pay

    torch.manual_seed(seed)
    plain, training = encoder.backbone, encoder.backbone.training
    wanted = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    layers = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="all-linear",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for an attribute by its old name
        wrapped = peft.get_peft_model(plain, layers)
    encoder.backbone = wrapped.train(training or config.dropout > 0)
    try:
        yield
    finally:
        encoder.backbone = wrapped.merge_and_unload()
        for parameter in wanted:
            parameter.requires_grad_(True)
