"""What the losses accept: every refusal says which tensor has which shape, and which one was expected."""

import math
from numbers import Real

import torch
from torch import Tensor

from infonce.errors import LossInputError
from infonce.loss_config import LossConfig, Negatives


def check_batch(
    anchors: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None,
    also_positive: Tensor | None,
    config: LossConfig,
) -> None:
    """Raise `LossInputError` unless they are one batch, as `info_nce` describes it."""
    both = f"anchors is {_shape(anchors)} and positives is {_shape(positives)}; expected"
    _check_floating("anchors", anchors, shapes=f"; {both}", expected="(B, D)")
    _check_floating("positives", positives, shapes=f"; {both}", expected="(B, D)")
    if anchors.ndim != 2 or anchors.shape != positives.shape:
        raise LossInputError(f"{both} the same (B, D) for both: a positive for each anchor")
    if anchors.numel() == 0:
        raise LossInputError(f"{both} (B, D) with B and D of at least 1: the batch is empty")
    _check_devices(anchors=anchors, positives=positives, negatives=negatives, also_positive=also_positive)
    num_negatives = 0
    if negatives is not None:
        _check_negatives(negatives, anchors, mode=config.negatives)
        num_negatives = negatives.shape[-2]
    if also_positive is not None:
        check_mask("also_positive", also_positive, shape=(len(anchors), len(anchors) + num_negatives))


def check_candidates(anchors: Tensor, candidates: Tensor) -> None:
    """Raise `LossInputError` unless anchors (B, D) and candidates (C, D) are floating and none of B, C, D is 0."""
    both = f"anchors is {_shape(anchors)} and candidates is {_shape(candidates)}; expected"
    _check_floating("anchors", anchors, shapes=f"; {both}", expected="(B, D)")
    _check_floating("candidates", candidates, shapes=f"; {both}", expected="(C, D)")
    if anchors.ndim != 2 or candidates.ndim != 2 or anchors.shape[1] != candidates.shape[1]:
        raise LossInputError(f"{both} (B, D) and (C, D)")
    if anchors.numel() == 0 or candidates.numel() == 0:
        raise LossInputError(f"{both} (B, D) and (C, D) with B, C and D of at least 1: the batch is empty")
    _check_devices(anchors=anchors, candidates=candidates)


def _check_devices(**tensors: Tensor | None) -> None:
    """Raise `LossInputError` unless all that are given lie on one device that holds numbers."""
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if len({tensor.device for tensor in given.values()}) > 1 or any(tensor.is_meta for tensor in given.values()):
        where = ", ".join(f"{name} {_shape(tensor)} on {tensor.device}" for name, tensor in given.items())
        raise LossInputError(f"{where}; expected all on one device, and not on meta")


def check_mask(name: str, mask: Tensor, *, shape: tuple[int, int]) -> None:
    """Raise `LossInputError` unless `mask` is boolean, dense or sparse COO, and of that shape."""
    if mask.layout not in (torch.strided, torch.sparse_coo):
        layouts = f"{torch.strided} (dense) or {torch.sparse_coo}"
        raise LossInputError(f"{name} has layout {mask.layout} and shape {_shape(mask)}; expected {layouts} {shape}")
    if mask.dtype is not torch.bool:
        raise LossInputError(f"{name} has dtype {mask.dtype} and shape {_shape(mask)}; expected torch.bool {shape}")
    if tuple(mask.shape) != shape:
        raise _mismatch(name, mask, expected=f"{shape}: a row for each anchor, a column for each candidate")


def check_temperature(temperature: object) -> None:
    """Raise `LossInputError` unless it is one positive, finite number.

    A learnt one on an accelerator is not read back: `LearnedTemperature` keeps it in its bounds.
    """
    if isinstance(temperature, Tensor):
        if temperature.numel() != 1 or not temperature.is_floating_point():
            shape = f"{_shape(temperature)} of {temperature.dtype}"
            raise LossInputError(f"temperature is a tensor {shape}; expected one floating number, shape ()")
        if temperature.device.type != "cpu":
            return
        temperature = temperature.detach()  # torch warns of a number made from what needs a gradient
    elif not isinstance(temperature, Real):
        raise LossInputError(f"temperature is {temperature!r}; expected a number or a tensor of one")
    value = float(temperature)
    if not (value > 0 and math.isfinite(value)):
        raise LossInputError(f"temperature is {value}; expected a finite number above 0, 0.02 to 0.1 is usual")


def check_config(config: LossConfig) -> None:
    """Raise `LossInputError` if a loss over one batch of pairs could not do what the config asks for."""
    if config.num_views is not None:
        raise LossInputError(f"config.num_views is {config.num_views}, which asks for a loss over views: call nt_xent")
    for name, unset in (("momentum", None), ("queue_size", 0)):
        if (value := getattr(config, name)) != unset:
            message = f"config.{name} is {value}, which a training run keeps: give it to TrainConfig(loss=...)"
            raise LossInputError(f"{message}, or pass config.of_a_batch()")


def check_views(views: Tensor) -> None:
    """Raise `LossInputError` unless `views` is floating (V, B, D) with at least two views of at least one thing."""
    _check_floating("views", views, expected="(V, B, D)")
    if views.ndim != 3 or len(views) < 2 or views.numel() == 0:
        raise _mismatch("views", views, expected="(V, B, D) with V of at least 2, B and D of at least 1")


def _check_negatives(negatives: Tensor, anchors: Tensor, *, mode: Negatives) -> None:
    """Raise `LossInputError` unless `negatives` is (M, D), or (B, M, D) where each anchor has its own."""
    size, dimensions = anchors.shape
    paired = mode is Negatives.PAIRED
    expected = f"({size}, M, {dimensions})" if paired else f"(M, {dimensions})"
    _check_floating("negatives", negatives, expected=expected)
    is_apart = negatives.ndim != (3 if paired else 2) or negatives.shape[-1] != dimensions
    if is_apart or (paired and len(negatives) != size):
        expected = f"{expected} for {mode.value} negatives, as anchors is {_shape(anchors)}"
        raise _mismatch("negatives", negatives, expected=expected)


def _check_floating(name: str, tensor: Tensor, *, expected: str, shapes: str = "") -> None:
    if not tensor.is_floating_point():
        shapes = shapes or f" and shape {_shape(tensor)}; expected"
        raise LossInputError(f"{name} has dtype {tensor.dtype}{shapes} floating {expected}")


def _mismatch(name: str, tensor: Tensor, *, expected: str) -> LossInputError:
    return LossInputError(f"{name} is {_shape(tensor)}; expected {expected}")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
