"""Linear layers in whole numbers, for encoding on a CPU: weights rounded once, inputs rounded as they come.

Every token has a scale of its own, so that no text's vector depends on its neighbours. Attention stays float32.
"""

import copy
from itertools import chain
from typing import Final, Self

import torch
from torch import Tensor, nn

from infonce.errors import ConfigError

_LARGEST_INPUT: Final = 127
_ZERO_POINT: Final = 128  # inputs are kept unsigned, which is what the instructions of every x86 take on the left
_LARGEST_WEIGHT: Final = 63
"""7 bits: AVX2 adds two products in 16 bits, and 2 × 255 × 63 is below 2¹⁵, where 127 would overflow in silence."""

_SMALLEST_SCALE: Final = 1e-12  # of a row of zeros, which stays one


class Int8Linear(nn.Module):
    """A linear layer that multiplies whole numbers; no gradient passes through it."""

    weight_scales: Tensor
    zero_points: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()  # (N, K)
        scales = weight.abs().amax(dim=1).clamp(min=_SMALLEST_SCALE) / _LARGEST_WEIGHT  # (N,)
        rounded = (weight / scales[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)  # opaque to every copy and `state_dict`
        self.bias: nn.Parameter | None = linear.bias
        self.register_buffer("weight_scales", scales, persistent=False)
        self.register_buffer("zero_points", torch.zeros(len(scales), dtype=torch.int32), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's output, but for rounding.

        Shape:
            inputs (..., K) float32; returns (..., N) float32.
        """
        rows = inputs.reshape(-1, self.in_features)  # (M, K)
        rounded, scales = round_rows(rows)
        products: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded,
            1.0,
            _ZERO_POINT,
            self._packed,
            self.weight_scales,
            self.zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # (M, N)
        if self.bias is None:
            products.mul_(scales)
        else:
            torch.addcmul(self.bias, products, scales, out=products)
        return products.view(*inputs.shape[:-1], self.out_features)


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as whole numbers from 1 to 255 around 128, and what one of them is worth.

    Shape:
        rows (M, K) float32; returns (M, K) uint8 and (M, 1) float32.
    """
    largest = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))  # faster than abs
    scales = largest.clamp_(min=_SMALLEST_SCALE) / _LARGEST_INPUT  # (M, 1)
    shifted = torch.addcmul(rows.new_tensor(_ZERO_POINT + 0.5), rows, 1 / scales)  # cutting off half more rounds
    return shifted.to(torch.uint8), scales


def has_int8(device: torch.device) -> bool:
    """Whether int8 products can be computed there."""
    return device.type == "cpu" and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class Int8Copies:
    """The newest int8 copy of a backbone, made anew when the backbone's weights are no longer the same."""

    def __init__(self) -> None:
        self._made_of: tuple[tuple[int, int, int], ...] = ()
        self._copy: nn.Module | None = None

    def of(self, backbone: nn.Module) -> nn.Module:
        """The backbone with its linear layers in int8.

        A change of the weights is seen by the counter that PyTorch keeps of each tensor; what is written through
        `.data` passes by it.

        Raises:
            ConfigError: this machine or the backbone's device has no int8 products.
        """
        state = tuple((id(weight), weight.data_ptr(), weight._version) for weight in backbone.parameters())
        if self._copy is None or state != self._made_of:
            self._copy, self._made_of = int8_copy(backbone), state
        return self._copy

    def __deepcopy__(self, memo: object) -> Self:
        return type(self)()


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
