"""One step's gradient: the distinct texts of a batch through the encoder, in chunks, into the loss and back."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from infonce.batches import Batch, Ids, PairTable
from infonce.config import TrainConfig
from infonce.distributed import Processes
from infonce.encoder import Encoder
from infonce.errors import ConfigError, Stopped, TrainingError
from infonce.gradcache import GradCache
from infonce.graph_budget import GraphBudget
from infonce.loss_config import LossConfig, Negatives
from infonce.momentum import KeyQueue, PastBatches, SlowEncoder
from infonce.objective import Objective
from infonce.precision import autocast
from infonce.temperature import LearnedTemperature
from infonce.tokens import TokenizedTexts, chunks
from infonce.word_table import WordTable


@dataclass(frozen=True, kw_only=True, slots=True)
class JointBatch:
    """What every step of a run shares; the config must be resolved."""

    encoder: Encoder
    tokens: TokenizedTexts
    config: TrainConfig
    objective: Objective
    budget: GraphBudget
    stop: Callable[[], bool]
    processes: Processes = field(default_factory=Processes)

    @classmethod
    def build(
        cls,
        encoder: Encoder,
        table: PairTable,
        *,
        tokens: TokenizedTexts,
        config: TrainConfig,
        stop: Callable[[], bool],
    ) -> Self:
        """The parts that a run with this config needs; the encoder is in its training mode and attention by now."""
        return cls(
            encoder=encoder,
            tokens=tokens,
            config=config,
            objective=_objective(config.loss, table, encoder=encoder),
            budget=GraphBudget.measure(encoder, tokens, config=config),
            stop=stop,
            processes=Processes.current(),
        )

    def backward(self, batch: Batch) -> float:
        """The batch's loss, with its gradient added to the weights and to a learnt temperature.

        Raises:
            Stopped: `stop()` was true at a chunk's edge, or, where several processes train, before the step in any of
                them; the weights' gradients are of no use.
        """
        if self.processes.count > 1 and self.processes.any(self.stop(), device=self.encoder.device):
            raise Stopped("stopped before a step")
        parts = list(chunks(self.tokens.lengths[batch.rows], int(self.config.max_chunk_tokens)))
        keys = self._keys(batch, parts)
        words = WordTable.of(self.encoder.backbone, self.tokens.ids_of(batch.rows), pad_id=self.encoder.layout.pad_id)
        cache = GradCache(
            embed=lambda rows: self._embed(batch.rows[rows], words),
            device=self.encoder.device,
            num_kept=lambda own: self.budget.num_kept([self.tokens.lengths[batch.rows[rows]] for rows in own]),
            stop=self._stop_within,
            processes=self.processes,
        )
        loss, vectors = cache.backward(parts, lambda vectors: self.objective.loss(vectors, batch, keys=keys))
        if words is not None:
            words.give_back()
        self.processes.sum_gradients(self.encoder.backbone.parameters())
        self.objective.remember(vectors if keys is None else keys, batch)
        return loss.item()

    def forget_gradients(self) -> None:
        """No gradient is left, of an unfinished step either."""
        self.encoder.backbone.zero_grad()
        if self.objective.temperature is not None:
            self.objective.temperature.zero_grad()

    def _stop_within(self) -> bool:
        """Whether to stop in the middle of a step: never where others would wait for this process's share.

        It is asked there as well: whoever is asked knows that there is work.
        """
        return self.stop() and self.processes.count == 1

    def _embed(self, rows: Ids, words: WordTable | None) -> Tensor:
        with autocast(self.encoder.device, self.config.precision):
            return self.encoder.embed(self.tokens, rows, words=None if words is None else words.look_up)

    def _keys(self, batch: Batch, parts: Sequence[Ids]) -> Tensor | None:
        """What the slow encoder makes of the batch's rows, if there is one; (U, D)."""
        past = self.objective.past
        if past is None or past.slow is None:
            return None
        slow, own = past.slow, self.processes.share(parts)
        made = []
        for rows in own:
            if self._stop_within():
                raise Stopped("stopped while the slow encoder worked; the unfinished step was dropped")
            made.append(slow.embed(self.tokens, batch.rows[rows], precision=self.config.precision))
        return self.processes.joined(parts, made, device=self.encoder.device)


def check_together(config: TrainConfig, table: PairTable, *, encoder: Encoder) -> None:
    """Raise `ConfigError` where config, data and model do not fit; the config must be resolved."""
    if config.mine is None:
        check_negatives(config, table)
    loss = config.loss
    if loss.queue_size and loss.momentum is None and int(config.batch_size) >= len(table):
        message = f"queue_size is {loss.queue_size} and a batch holds all {len(table)} pairs, so that nothing is past"
        raise ConfigError(f"{message}; lower batch_size, or set queue_size to 0", param="queue_size")
    if max(loss.matryoshka_dims or [0]) > encoder.dimensions:
        message = f"matryoshka_dims is {list(loss.matryoshka_dims or [])} and the model has {encoder.dimensions}"
        raise ConfigError(f"{message} dimensions; list shorter ones", param="matryoshka_dims")


def check_negatives(config: TrainConfig, table: PairTable) -> None:
    """Raise `ConfigError` where the loss needs hard negatives that are not there, or has no use for those there are."""
    loss, num_negatives = config.loss, len(table.negatives)
    if loss.negatives is not Negatives.SHARED and not num_negatives:
        message = f"negatives is {loss.negatives.value!r} and the pairs bring none to use; use 'shared'"
        raise ConfigError(message, param="negatives")
    without = int((np.diff(table.negative_offsets) == 0).sum())
    if loss.negatives is Negatives.PAIRED and not loss.symmetric and without:
        message = f"negatives is 'paired' in one direction and {without} of {len(table)} pairs bring none: they would"
        raise ConfigError(f"{message} teach nothing; leave them out, or set symmetric to true", param="negatives")
    size = int(config.batch_size)
    if loss.negatives is Negatives.UNPAIRED and not loss.symmetric and without >= size:
        message = f"negatives is 'unpaired' in one direction and {without} of {len(table)} pairs bring none: a batch of"
        raise ConfigError(f"{message} {size} such pairs would teach nothing; set symmetric to true", param="negatives")
    if loss.num_views is not None and num_negatives:
        message = f"num_views is {loss.num_views} and the pairs bring {num_negatives} hard negatives, which views"
        raise ConfigError(f"{message} have no use for; set hard_negatives to 'none'", param="hard_negatives")


def check_same_start(facts: Mapping[str, Any], processes: Processes, *, device: torch.device) -> None:
    """Raise `TrainingError` unless all processes are about to begin the same run at the same step; all of them ask."""
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=7).digest()  # fits an int64
    if not processes.agree(int.from_bytes(digest), device=device):
        message = "the processes that train together were given different models, pairs, settings or checkpoints"
        raise TrainingError(f"{message}; give all of them the same, and load the model anew from its folder")


def _objective(loss: LossConfig, table: PairTable, *, encoder: Encoder) -> Objective:
    temperature, past = None, None
    if loss.learn_temperature:
        temperature = LearnedTemperature(loss.temperature).to(encoder.device)
    if loss.queue_size:
        queue = KeyQueue(loss.queue_size, dimensions=encoder.dimensions, device=encoder.device)
        slow = None if loss.momentum is None else SlowEncoder(encoder, momentum=loss.momentum)
        past = PastBatches(queue=queue, slow=slow)
    return Objective(config=loss, table=table, temperature=temperature, past=past)
