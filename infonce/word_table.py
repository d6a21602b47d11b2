"""The word embeddings of one batch as a small table, so that their gradient is small as well.

The backward of a chunk otherwise makes a gradient as large as the whole vocabulary, 47 MB for MiniLM, fills it with
zeros and adds it to that of the chunk before: on short texts a step spent more on that than on its optimizer.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class WordTable:
    """The rows of a vocabulary that a batch needs, as a leaf of the graph."""

    source: nn.Embedding
    ids: Tensor  # (V,) sorted, distinct
    rows: Tensor  # (V, E) the leaf
    padding: int | None

    @classmethod
    def of(cls, backbone: nn.Module, ids: NDArray[np.int32], *, pad_id: int) -> Self | None:
        """The table of these token ids; None where the embedding is frozen or does more than look a row up.

        None too where the padding's id stands in a text: some models count positions by it.
        """
        source = backbone.get_input_embeddings()  # type: ignore[operator]
        if type(source) is not nn.Embedding or not source.weight.requires_grad or source.max_norm is not None:
            return None
        padding = source.padding_idx
        if padding is not None and (ids == padding).any():
            return None
        distinct = np.unique(np.append(ids, pad_id))
        chosen = torch.from_numpy(distinct.astype(np.int64)).to(source.weight.device)
        return cls(
            source=source,
            ids=chosen,
            rows=source.weight.detach()[chosen].requires_grad_(),
            padding=None if padding not in distinct else int(np.flatnonzero(distinct == padding)[0]),
        )

    def look_up(self, ids: Tensor) -> Tensor:
        """The embeddings of token ids of the batch.

        Shape:
            ids (n, L); returns (n, L, E).
        """
        return F.embedding(torch.searchsorted(self.ids, ids), self.rows, padding_idx=self.padding)

    def give_back(self) -> None:
        """The vocabulary's gradient has grown by that of this table."""
        weight = self.source.weight
        if self.rows.grad is None:  # no chunk of the batch was this process's
            return
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad[self.ids] += self.rows.grad  # the ids are distinct
