"""The loss of one joint batch and its gradient, with the encoder run in chunks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infonce.batches import Batch
from infonce.config import TrainConfig
from infonce.encoder import Encoder
from infonce.errors import Stopped
from infonce.losses import info_nce
from infonce.precision import autocast
from infonce.tokens import TokenizedTexts, chunks


@dataclass(frozen=True, kw_only=True, slots=True)
class JointBatch:
    """What every step of a run shares; the config must be resolved."""

    encoder: Encoder
    tokens: TokenizedTexts
    config: TrainConfig
    stop: Callable[[], bool]

    def backward(self, batch: Batch) -> float:
        """The batch's loss, with its gradient added to the weights.

        The loss sees the vectors as leaves, and their gradient goes back chunk by chunk: the same numbers as one
        backward pass, but memory falls as it goes and a wish to stop is heard within a chunk.

        Raises:
            Stopped: `stop()` was true at a chunk's edge; the weights' gradients are of no use.
        """
        parts = self._embed(batch)
        order = np.concatenate([rows for rows, _ in parts])
        joined = torch.cat([vectors for _, vectors in parts]).detach()
        vectors = joined[_on(joined, np.argsort(order))].requires_grad_()  # (U, D)
        loss = self._loss(vectors, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        assert vectors.grad is not None
        for rows, part in reversed(parts):
            self._heed_stop()
            part.backward(vectors.grad[_on(part, rows)])  # type: ignore[no-untyped-call]
        return loss.item()

    def _embed(self, batch: Batch) -> list[tuple[NDArray[np.int64], Tensor]]:
        """Which of the batch's rows each chunk holds, and their vectors with the graph behind them."""
        parts = []
        for rows in chunks(self.tokens.lengths[batch.rows], int(self.config.max_chunk_tokens)):
            self._heed_stop()
            with autocast(self.encoder.device, self.config.precision):
                parts.append((rows, self.encoder.embed(self.tokens, batch.rows[rows])))
        return parts

    def _loss(self, vectors: Tensor, batch: Batch) -> Tensor:
        anchors, positives, negatives = (
            vectors[_on(vectors, rows)] for rows in (batch.anchors, batch.positives, batch.negatives)
        )
        return info_nce(
            anchors,
            positives,
            negatives=negatives,
            temperature=self.config.temperature,
            symmetric=self.config.symmetric,
            also_positive=torch.from_numpy(batch.also_positive).to(vectors.device),
        )

    def _heed_stop(self) -> None:
        if self.stop():
            raise Stopped("stopped at a chunk's edge; the unfinished step was dropped")


def _on(tensor: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(rows).to(tensor.device)
