"""Loading a transformers backbone that can be trusted: what transformers accepts in silence is refused here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel
from transformers.utils import logging

from infonce.errors import InvalidModel

_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, ZeroDivisionError, ImportError, SafetensorError)


def load_backbone(folder: Path) -> nn.Module:
    """The folder's encoder in float32, every weight present and finite.

    safetensors only, no code from the folder, no network. A checkpoint in half precision is loaded as float32:
    updates of a full fine-tune are too small for bf16 weights.

    Raises:
        InvalidModel: anything is missing, of another shape, not finite, or not readable.
    """
    try:
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except _LOAD_ERRORS as error:
        raise InvalidModel(f"{folder.name} cannot be loaded: {_first_line(error)}") from error
    _refuse_incomplete(folder, info)
    if any("pooler." in key for key in info["missing_keys"]):
        model.pooler = None  # a head that nothing here uses; absent from the file it would be random numbers
    _refuse_non_finite(folder, model)
    model.config.use_cache = False
    module: nn.Module = model
    return module.eval()


def set_dropout(backbone: nn.Module, rate: float) -> int:
    """Give every hidden layer that dropout and attention none, and the mode in which it applies; how many layers.

    Attention dropout sends PyTorch's fused kernel to its slowest path and needs several times the memory.
    """
    num_layers = 0
    for module in backbone.modules():
        of_attention = type(module).__name__.endswith("SelfAttention")
        for child in module.children():
            if isinstance(child, nn.Dropout):
                child.p = 0.0 if of_attention else rate
                num_layers += not of_attention
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]
    backbone.train(rate > 0)
    return num_layers


def _refuse_incomplete(folder: Path, info: dict[str, Any]) -> None:
    missing = sorted(key for key in info["missing_keys"] if "pooler." not in key)
    if missing:
        few = ", ".join(missing[:3])
        raise InvalidModel(
            f"{folder.name} lacks {len(missing)} of the encoder's weights ({few} …); they would be random numbers"
        )
    if info["mismatched_keys"]:
        raise InvalidModel(f"{folder.name} has weights of another shape than its config.json says")


def _refuse_non_finite(folder: Path, model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InvalidModel(f"{folder.name} has non-finite numbers in {name}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Its progress bar and load report would stand between a user and our own sentences."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
