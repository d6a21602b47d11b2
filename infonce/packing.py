"""The texts of a chunk back to back, with no padding between them.

Linear layers, norms and activations see real tokens alone; attention goes length by length, each text with itself.
Padding of a chunk of short texts was a fifth of its tokens (docs/log.md). Models and devices that this was not written
for get padded chunks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from infonce.config import Attention
from infonce.tokens import TokenizedTexts

_PREFIX: Final = "packed_"  # of an attention's name among those of transformers
_FROM_ZERO: Final = frozenset({"bert"})
_AFTER_PADDING: Final = frozenset({"roberta", "xlm-roberta"})  # their first position is one after the padding's id


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """Where the texts of a chunk stand in it; in the place of one without tokens stands a padding."""

    ids: Tensor  # (1, T)
    positions: Tensor  # (1, T), what the model calls them
    runs: tuple[tuple[int, int], ...]
    """Neighbours of one length: how many texts, and how many tokens each."""
    places: Tensor  # (T,) where each token would stand in the padded chunk (n, L), row after row
    mask: Tensor  # (n, L) bool

    @classmethod
    def of(cls, tokens: TokenizedTexts, rows: NDArray[np.int64], *, backbone: nn.Module, pad_id: int) -> "Packing":
        """The texts `rows`, in that order; those of one length should be neighbours."""
        lengths = tokens.lengths[rows]
        held = np.maximum(lengths, 1)
        ids = np.full(held.sum(), pad_id, dtype=np.int64)
        ids[np.repeat(lengths > 0, held)] = tokens.ids_of(rows)
        columns = np.arange(int(held.max()))
        arrays = (
            ids[None],
            _positions(ids, held, config=backbone.config)[None],
            np.flatnonzero(columns < held[:, None]),
            columns < lengths[:, None],
        )
        device = next(backbone.parameters()).device
        on_device, positions, places, mask = (torch.from_numpy(array).to(device) for array in arrays)
        runs = tuple((len(list(same)), int(length)) for length, same in groupby(held))
        return cls(ids=on_device, positions=positions, runs=runs, places=places, mask=mask)

    def padded(self, states: Tensor) -> Tensor:
        """The tokens' states, each text's in a row of its own, zeros after its last.

        Shape:
            states (T, D); returns (n, L, D).
        """
        count, longest = self.mask.shape
        if len(states) == count * longest:  # no text is shorter: nothing to copy
            return states.view(count, longest, -1)
        blank = states.new_zeros(count * longest, states.shape[1])
        return blank.index_copy(0, self.places, states).view(count, longest, -1)


def can_pack(backbone: nn.Module) -> bool:
    """Whether the backbone, where it is now, could read packed texts."""
    config: Any = backbone.config
    known = config.model_type in _FROM_ZERO | _AFTER_PADDING and not config.is_decoder
    return known and next(backbone.parameters()).device.type == "cpu"


def set_attention(backbone: nn.Module, kind: Attention) -> None:
    """From now on the backbone's attention is of that kind, over packed texts if it can be."""
    backbone.set_attn_implementation(_PREFIX * can_pack(backbone) + kind.value)  # type: ignore[operator]


def is_packed(backbone: nn.Module) -> bool:
    """Whether the backbone reads packed texts."""
    return str(backbone.config._attn_implementation).startswith(_PREFIX)  # type: ignore[union-attr]


def _positions(ids: NDArray[np.int64], lengths: NDArray[np.int64], *, config: Any) -> NDArray[np.int64]:
    """What the model calls the positions of texts back to back; (T,)."""
    if config.model_type in _FROM_ZERO:
        return _counted(np.ones_like(ids), lengths) - 1
    is_word = (ids != config.pad_token_id).astype(np.int64)
    positions: NDArray[np.int64] = _counted(is_word, lengths) * is_word + int(config.pad_token_id)
    return positions


def _counted(marks: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The running sum of each text's marks, from its first token on; (T,)."""
    sums = np.cumsum(marks)
    firsts = np.cumsum(lengths) - lengths  # (n,)
    counted: NDArray[np.int64] = sums - np.repeat((sums - marks)[firsts], lengths)
    return counted


def _by_length(attend: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, None]]:
    """What transformers calls for the attention of a layer: `attend` within each text, texts of one length at once."""

    def attention(_module: nn.Module, *given: Any, packing: Packing, **how: Any) -> tuple[Tensor, None]:
        """Query, key, value, each (1, H, T, E), and no mask; returns (1, T, H, E)."""
        heads = [states[0].transpose(0, 1) for states in given[:3]]  # (T, H, E)
        sizes = [count * length for count, length in packing.runs]
        parts = []
        for (_, length), *own in zip(packing.runs, *(torch.split(states, sizes) for states in heads), strict=True):
            texts = [part.unflatten(0, (-1, length)).transpose(1, 2) for part in own]  # (texts, H, length, E)
            attended = attend(*texts, dropout_p=how["dropout"], scale=how["scaling"])
            parts.append(attended.transpose(1, 2).flatten(0, 1))
        return torch.cat(parts)[None], None

    return attention


def _plain(*states: Tensor, dropout_p: float, scale: float) -> Tensor:
    """What the fused one computes, step by step."""
    query, key, value = states
    weights = ((query * scale) @ key.transpose(2, 3)).softmax(dim=-1)
    return F.dropout(weights, dropout_p) @ value


AttentionInterface.register(_PREFIX + Attention.FUSED.value, _by_length(F.scaled_dot_product_attention))
AttentionInterface.register(_PREFIX + Attention.PLAIN.value, _by_length(_plain))
