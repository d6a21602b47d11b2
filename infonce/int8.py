"""Linear layers in whole numbers, for encoding on a CPU: weights rounded once, inputs rounded as they come.

Every token has a scale of its own, so that no text's vector depends on its neighbours. Attention stays float32.
"""

import copy
from itertools import chain
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from infonce.errors import ConfigError

_LARGEST_INPUT: Final = 255
_LARGEST_WEIGHT: Final = 127
_LARGEST_PAIR: Final = 128
"""AVX2 adds two neighbouring products in 16 bits and overflows in silence: 255 × 128 is below 2¹⁵. As a limit of
pairs it leaves half a bit more to most weights than 64 for each would."""

_SMALLEST_SPAN: Final = 1e-3  # of a row, as a share of its largest number: below that float32 has no 8 bits left
_TINY: Final = 1e-12  # of a row or a layer of zeros, which stays one


class Int8Linear(nn.Module):
    """A linear layer that multiplies whole numbers; no gradient passes through it."""

    sums: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        rounded, scales = round_weights(linear.weight.detach().float())
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.bias: nn.Parameter | None = linear.bias
        self.register_buffer("scales", scales, persistent=False)  # (N,)
        self.register_buffer("sums", scales * rounded.sum(dim=1), persistent=False)  # (N,)
        self.register_buffer("zeros", torch.zeros(len(scales), dtype=torch.int32), persistent=False)
        self._refuse_overflow(rounded)

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's output, but for rounding.

        Shape:
            inputs (..., K) float32; returns (..., N) float32.
        """
        rounded, scales, lowest = round_rows(inputs.reshape(-1, self.in_features))
        outputs = lowest * self.sums if self.bias is None else torch.addcmul(self.bias, lowest, self.sums)  # (M, N)
        outputs.addcmul_(self._products(rounded), scales)
        return outputs.view(*inputs.shape[:-1], self.out_features)

    def _products(self, rounded: Tensor) -> Tensor:
        kind: tuple[Any, ...] = (
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # no bias, no scale and no function on what comes out
        products = torch.ops.onednn.qlinear_pointwise(rounded, 1.0, 0, self._packed, self.scales, self.zeros, *kind)
        assert isinstance(products, Tensor)
        return products  # (M, N)

    def _refuse_overflow(self, weights: Tensor) -> None:
        """Raise `ConfigError` if the largest inputs overflow: how products are paired is this machine's affair."""
        largest = torch.full((32, self.in_features), _LARGEST_INPUT, dtype=torch.uint8)
        exact = self.scales * (_LARGEST_INPUT * weights.sum(dim=1))  # (N,)
        if not torch.allclose(self._products(largest), exact, rtol=1e-5, atol=0.0):
            message = "precision is 'int8', whose products overflow on this processor; use float32 or bf16"
            raise ConfigError(message, param="precision")


def round_weights(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as whole numbers of which no two neighbours overflow, and what one of them is worth.

    Shape:
        weights (N, K) float32; returns (N, K) int8 and (N,) float32.
    """
    sizes = nn.functional.pad(weights.abs(), (0, weights.shape[1] % 2))  # (N, K or K + 1)
    pairs = sizes.view(len(sizes), -1, 2).sum(dim=2).amax(dim=1)  # (N,)
    scales = torch.maximum(sizes.amax(dim=1) / _LARGEST_WEIGHT, pairs / (_LARGEST_PAIR - 1)).clamp(min=_TINY)
    return (weights / scales[:, None]).round().to(torch.int8), scales


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row as whole numbers from 0 to 255, what one of them is worth, and what 0 stands for.

    Shape:
        rows (M, K) float32; returns (M, K) uint8, (M, 1) and (M, 1) float32.
    """
    lowest, highest = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)  # (M, 1)
    least = torch.maximum(highest, -lowest).mul_(_SMALLEST_SPAN).clamp_(min=_TINY)
    scales = torch.maximum(highest.sub_(lowest), least) / _LARGEST_INPUT  # (M, 1)
    shifted = torch.addcmul(0.5 - lowest / scales, rows, 1 / scales)  # cutting off half more rounds; (M, K)
    return shifted.to(torch.uint8), scales, lowest


def has_int8(device: torch.device) -> bool:
    """Whether int8 products can be computed there."""
    return device.type == "cpu" and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class Int8Copies:
    """The newest int8 copy of a backbone, made anew when the backbone's weights are no longer the same."""

    def __init__(self) -> None:
        self._marks: list[tuple[object, ...]] = []
        self._copy: nn.Module | None = None

    def of(self, backbone: nn.Module) -> nn.Module:
        """The backbone with its linear layers in int8.

        Raises:
            ConfigError: this machine or the backbone's device has no int8 products.
        """
        marks = [_mark(module) for module in backbone.modules() if type(module) is nn.Linear]
        if self._copy is None or marks != self._marks:
            self._copy, self._marks = int8_copy(backbone), marks
        return self._copy

    def __deepcopy__(self, memo: object) -> Self:
        return type(self)()


def _mark(linear: nn.Linear) -> tuple[object, ...]:
    """What is another after every update: PyTorch's counter of changes, which a fused AdamW passes by, and a sum.

    A change through `.data` of other rows than the first is not seen; nothing here makes one.
    """
    weight = linear.weight.detach()
    return id(linear), weight.data_ptr(), linear.weight._version, float(weight[0].double().sum())


def copy_bytes(backbone: nn.Module) -> int:
    """What the whole numbers of `int8_copy` take; all else is shared."""
    return sum(module.weight.numel() for module in backbone.modules() if type(module) is nn.Linear)


def int8_copy(backbone: nn.Module) -> nn.Module:
    """A copy that shares every weight but those of the linear layers, which are in int8; for inference.

    Raises:
        ConfigError: this machine or the backbone's device has no int8 products.
    """
    device = next(backbone.parameters()).device
    if not has_int8(device):
        message = f"precision is 'int8', which is for CPUs with oneDNN, and the weights are on '{device}'"
        raise ConfigError(f"{message}; use float32 or bf16", param="precision")
    shared = {id(tensor): tensor for tensor in chain(backbone.parameters(), backbone.buffers())}
    copied = copy.deepcopy(backbone, shared)
    with torch.no_grad():
        for module in list(copied.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear:
                    setattr(module, name, Int8Linear(child))
    return copied.eval()
