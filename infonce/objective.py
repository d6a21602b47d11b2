"""What a batch is judged by: its vectors under the form of the loss that the config names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from infonce.batches import Batch, Ids, PairTable
from infonce.loss_config import LossConfig
from infonce.losses import info_nce, nt_xent
from infonce.momentum import KeyQueue, PastBatches, SlowEncoder, rows_on
from infonce.temperature import LearnedTemperature


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The loss of a run; the parts that change while it runs are passed in."""

    config: LossConfig
    table: PairTable
    temperature: LearnedTemperature | None = None
    past: PastBatches | None = None

    def loss(self, vectors: Tensor, batch: Batch, *, keys: Tensor | None = None) -> Tensor:
        """The loss of the batch.

        Shape:
            vectors (U, D) of `batch.rows`; keys (U, D), what the slow encoder made of the same rows. Returns a scalar.
        """
        if self.config.num_views is not None:
            views = vectors[rows_on(vectors, batch.views)]  # (V, B, D)
            mask = _sparse(batch.also_positive, (batch.views.size, batch.views.size), like=vectors)
            return nt_xent(views, also_positive=mask, temperature=self._temperature(), config=self.config)
        if keys is None:
            return self._info_nce(vectors, vectors, batch=batch, config=self.config.of_a_batch())
        one_way = replace(self.config.of_a_batch(), symmetric=False)
        there = self._info_nce(vectors, keys, batch=batch, config=one_way)
        if not self.config.symmetric:
            return there
        size = len(batch.anchors)
        among = batch.also_positive[:, batch.also_positive[1] < size][::-1]
        back = info_nce(
            vectors[rows_on(vectors, batch.positives)],
            keys[rows_on(keys, batch.anchors)],
            also_positive=_sparse(among, (size, size), like=vectors),
            temperature=self._temperature(),
            config=one_way,
        )
        return (there + back) / 2

    @property
    def temperature_now(self) -> float:
        """The temperature of the next step."""
        return self.config.temperature if self.temperature is None else self.temperature().item()

    def after_step(self) -> None:
        """What follows the weights has followed them, and a learnt temperature is within its bounds."""
        if self.temperature is not None:
            self.temperature.clamp()
        if self.past is not None and self.past.slow is not None:
            self.past.slow.follow()

    def state_dict(self) -> dict[str, Tensor]:
        """What the steps so far have changed, by a name."""
        found: dict[str, Tensor] = {}
        for part, name in self._parts():
            found |= {f"{name}/{key}": tensor for key, tensor in part.state_dict().items()}
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """It is where it was when the state was taken; the config is the same."""
        for part, name in self._parts():
            own = f"{name}/"
            part.load_state_dict({key.removeprefix(own): state[key] for key in state if key.startswith(own)})

    def _parts(self) -> list[tuple[LearnedTemperature | KeyQueue | SlowEncoder, str]]:
        queue = None if self.past is None else self.past.queue
        slow = None if self.past is None else self.past.slow
        named = ((self.temperature, "temperature"), (queue, "queue"), (slow, "slow"))
        return [(part, name) for part, name in named if part is not None]

    def remember(self, vectors: Tensor, batch: Batch) -> None:
        """The documents of the batch are queued for the next ones; `vectors` (U, D) as the loss saw them."""
        if self.past is None:
            return
        documents = np.concatenate([batch.positives, batch.negatives])
        self.past.queue.push(vectors[rows_on(vectors, documents)], batch.candidate_texts)

    def _info_nce(self, vectors: Tensor, candidates: Tensor, *, batch: Batch, config: LossConfig) -> Tensor:
        negatives = candidates[rows_on(candidates, batch.negatives)]  # (M, D), or (B, M, D)
        known, num_columns = batch.also_positive, len(batch.anchors) + negatives.shape[-2]
        if self.past is not None:
            queued, texts = self.past.queue.without(batch.candidate_texts)
            negatives = torch.cat([negatives, queued])
            old = self.table.known(batch.anchor_texts, texts) + np.array([[0], [num_columns]])
            known, num_columns = np.concatenate([known, old], axis=1), num_columns + len(texts)
        return info_nce(
            vectors[rows_on(vectors, batch.anchors)],
            candidates[rows_on(candidates, batch.positives)],
            negatives=negatives,
            also_positive=_sparse(known, (len(batch.anchors), num_columns), like=vectors),
            temperature=self._temperature(),
            config=config,
        )

    def _temperature(self) -> Tensor | None:
        return None if self.temperature is None else self.temperature()


def _sparse(places: Ids, shape: tuple[int, int], *, like: Tensor) -> Tensor | None:
    """The mask that is true at these rows and columns."""
    if places.size == 0:
        return None
    indices = torch.from_numpy(np.ascontiguousarray(places)).to(like.device)
    true = torch.ones(indices.shape[1], dtype=torch.bool, device=like.device)
    return torch.sparse_coo_tensor(indices, true, shape, check_invariants=False)
