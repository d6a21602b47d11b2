"""The losses as modules for a training loop of one's own; they bring their vectors to unit length themselves.

All else is `infonce.losses`. In place of info-nce-pytorch: `from infonce import InfoNCE`.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infonce.limits import member
from infonce.loss_config import LossConfig, Negatives
from infonce.losses import info_nce, info_nce_of_each
from infonce.shapes import check_temperature
from infonce.temperature import LearnedTemperature


class _Reduction(StrEnum):
    """What becomes of the losses of a batch's queries."""

    NONE = "none"
    SUM = "sum"
    MEAN = "mean"


class InfoNCE(nn.Module):
    """The InfoNCE loss from query to key, called as that of info-nce-pytorch 0.1.4, with its values and gradients.

    Beyond it: the loss is computed in float32 at least, under autocast and from half precision too; `negative_mode`
    "shared" puts the other queries' positive keys beside the negative keys; `also_positive` names false negatives;
    the mean and the sum of a large batch without negative keys, or with shared ones, need little memory.
    """

    def __init__(
        self, temperature: float | Tensor = 0.1, reduction: str = "mean", negative_mode: str = "unpaired"
    ) -> None:
        """Refuse a `reduction` that is none of none, sum, mean, a mode that is none of `Negatives`, a bad temperature.

        Raises:
            ConfigError: no such reduction or mode.
            LossInputError: the temperature is no finite number above 0.
        """
        super().__init__()
        self.temperature = temperature
        self.reduction = reduction
        self.negative_mode = negative_mode
        self._forms()

    def forward(
        self,
        query: Tensor,
        positive_key: Tensor,
        negative_keys: Tensor | None = None,
        *,
        also_positive: Tensor | None = None,
    ) -> Tensor:
        """The loss of the batch; an error calls queries anchors, positive keys positives.

        Shape:
            query (B, D), positive_key (B, D), negative_keys (M, D), or (B, M, D) when paired: of any length;
            also_positive (B, B + M) bool, as in `info_nce`. Returns a scalar, or (B,) for the reduction "none".
        Raises:
            LossInputError: shapes or types do not belong together, or the temperature is not above 0.
        """
        reduction, mode = self._forms()
        # Not the mean of each but the mean itself where it will do: each holds all logits at once, the mean tiles.
        config = LossConfig(symmetric=False, negatives=mode)
        each = reduction is _Reduction.NONE
        compute = partial(info_nce_of_each, mode=mode) if each else partial(info_nce, config=config)
        loss = compute(
            _unit(query),
            _unit(positive_key),
            negatives=None if negative_keys is None else _unit(negative_keys),
            also_positive=also_positive,
            temperature=self.temperature,
        )
        return loss * len(query) if reduction is _Reduction.SUM else loss

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, reduction={self.reduction}, negative_mode={self.negative_mode}"

    def _forms(self) -> tuple[_Reduction, Negatives]:
        """What the attributes name; they may be set anew between calls, as in info-nce-pytorch."""
        check_temperature(self.temperature)
        reduction = member(_Reduction, "reduction", value=self.reduction)
        return reduction, member(Negatives, "negative_mode", value=self.negative_mode)


class SymmetricInfoNCE(nn.Module):
    """The mean of both directions, anchor to document and back (CLIP, Radford et al. 2021), as a module.

    Its temperature can be learnt. Three things are then the caller's: the optimizer gets `parameters()` of this
    module as well, in a group of their own without weight decay (which would pull the temperature to 1) and with a
    learning rate of their own (a fine-tune's 2e-5 would leave it where it was); `clamp()` follows every
    `optimizer.step()`; and the module stays in float32. Its `state_dict` belongs into the checkpoint.

        loss = SymmetricInfoNCE(learn_temperature=True)
        own = {"params": loss.parameters(), "lr": 1e-3, "weight_decay": 0.0}
        optimizer = torch.optim.AdamW([{"params": encoder.parameters()}, own], lr=2e-5)
        loss(encoder(queries), encoder(documents)).backward()
        optimizer.step()
        loss.clamp()
    """

    def __init__(
        self,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        *,
        negatives: Negatives | str = Negatives.SHARED,
        matryoshka_dims: Sequence[int] | None = None,
        matryoshka_weights: Sequence[float] | None = None,
        tile_size: int | Literal["auto"] = "auto",
    ) -> None:
        """Raises `ConfigError` where `LossConfig` does, which tells what each argument is."""
        super().__init__()
        given = {"temperature": temperature, "learn_temperature": learn_temperature, "negatives": negatives}
        prefixes = {"matryoshka_dims": matryoshka_dims, "matryoshka_weights": matryoshka_weights}
        self.config = LossConfig.from_dict({**given, **prefixes, "tile_size": tile_size})
        self.learned = LearnedTemperature(temperature) if learn_temperature else None

    @property
    def temperature(self) -> float:
        """The temperature of the next call."""
        return self.config.temperature if self.learned is None else self.learned().detach().item()

    def forward(
        self,
        anchors: Tensor,
        positives: Tensor,
        *,
        negatives: Tensor | None = None,
        also_positive: Tensor | None = None,
    ) -> Tensor:
        """The loss of the batch.

        Shape:
            as `info_nce`, but of any length. Returns a scalar.
        Raises:
            LossInputError: shapes or types do not belong together.
        """
        return info_nce(
            _unit(anchors),
            _unit(positives),
            negatives=None if negatives is None else _unit(negatives),
            also_positive=also_positive,
            temperature=None if self.learned is None else self.learned(),
            config=self.config,
        )

    def clamp(self) -> None:
        """A learnt temperature is at least 0.01; a fixed one is as it was."""
        if self.learned is not None:
            self.learned.clamp()

    def extra_repr(self) -> str:
        learnt = ", learnt" if self.learned is not None else ""
        return f"temperature={self.temperature:.4g}{learnt}, negatives={self.config.negatives}"


def _unit(vectors: Tensor) -> Tensor:
    """Of unit length along the last axis, in float32 at least; what holds no floats is left for the loss to refuse."""
    if not vectors.is_floating_point():
        return vectors
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)
