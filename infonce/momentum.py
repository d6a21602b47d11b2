"""Candidates beyond the batch: a queue of past documents, and a slow encoder that keeps them comparable.

With a momentum (MoCo, He et al. 2020) all candidates are encoded by the slow encoder, which follows the trained one
by a small share at each step. Without one the queue holds what the trained encoder made of past batches (cross-batch
memory, Wang et al. 2020): cheaper, and good while the weights move little over the queue's length.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from infonce.batches import Ids
from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.precision import autocast
from infonce.tokens import TokenizedTexts


class KeyQueue:
    """The newest documents of past batches, each text once, with the number by which a mask knows it."""

    def __init__(self, size: int, *, dimensions: int, device: torch.device) -> None:
        self._size = size
        self.vectors = torch.zeros(0, dimensions, device=device)  # (Q, D)
        self.texts: Ids = np.empty(0, dtype=np.int64)  # (Q,)

    def push(self, vectors: Tensor, texts: Ids) -> None:
        """The texts are the newest ones; an older vector of the same text is gone, and so is what is too much.

        Shape:
            vectors (n, D), texts (n,) text numbers.
        """
        newest = _last_of_each(texts)
        kept = np.flatnonzero(~np.isin(self.texts, texts))
        joined = torch.cat(
            [self.vectors[rows_on(self.vectors, kept)], vectors.detach()[rows_on(vectors, newest)].float()]
        )
        self.vectors = joined[-self._size :].clone()
        self.texts = np.concatenate([self.texts[kept], texts[newest]])[-self._size :]

    def without(self, texts: Ids) -> tuple[Tensor, Ids]:
        """Vectors and text numbers of what is queued and not among `texts`."""
        kept = np.flatnonzero(~np.isin(self.texts, texts))
        return self.vectors[rows_on(self.vectors, kept)], self.texts[kept]

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that is queued."""
        return {"vectors": self.vectors.clone(), "texts": torch.from_numpy(self.texts.copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What was queued then is queued now."""
        self.vectors = state["vectors"].to(self.vectors.device)
        self.texts = state["texts"].cpu().numpy()


class SlowEncoder:
    """A copy of an encoder that follows it: after each step it keeps `momentum` of itself."""

    def __init__(self, encoder: Encoder, *, momentum: float) -> None:
        self._followed = encoder.backbone
        self._momentum = momentum
        self._encoder = copy.copy(encoder)
        self._encoder.backbone = copy.deepcopy(encoder.backbone).eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        """One step nearer to the trained encoder (MoCo, equation 2)."""
        slow, trained = self._encoder.backbone.parameters(), self._followed.parameters()
        torch._foreach_lerp_(list(slow), list(trained), 1.0 - self._momentum)

    @torch.no_grad()
    def embed(self, tokens: TokenizedTexts, rows: Ids, *, precision: Precision) -> Tensor:
        """The vectors of a few texts, without dropout.

        Shape:
            rows (n,) of `tokens`; returns (n, D).
        """
        with autocast(self._encoder.device, precision):
            return self._encoder.embed(tokens, rows)

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights."""
        return dict(self._encoder.backbone.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """It has those weights."""
        self._encoder.backbone.load_state_dict(state)


@dataclass(kw_only=True, slots=True)
class PastBatches:
    """What a run keeps of past batches."""

    queue: KeyQueue
    slow: SlowEncoder | None = field(default=None)


def _last_of_each(texts: Ids) -> Ids:
    """Where each distinct text stands last, in that order."""
    _, from_behind = np.unique(texts[::-1], return_index=True)
    return np.sort(len(texts) - 1 - from_behind)


def rows_on(tensor: Tensor, rows: Ids) -> Tensor:
    """The row numbers as an index of `tensor`, on its device."""
    return torch.from_numpy(rows).to(tensor.device)
