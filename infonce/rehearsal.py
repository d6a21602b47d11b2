"""A few steps of a run, computed as the run would compute them and timed; the encoder is of no use afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from torch import nn

from infonce.allocator import keep_freed_memory
from infonce.batches import Ids
from infonce.checkpoint import Checkpoints, save
from infonce.encoder import Encoder
from infonce.errors import OutOfMemory, Stopped
from infonce.flops import Encoded
from infonce.joint import JointBatch
from infonce.lora import adapted
from infonce.loss_config import Negatives
from infonce.optimizer import build_optimizer
from infonce.peak_memory import peak_memory_bytes
from infonce.prepare import Prepared
from infonce.run_state import ModelState, RunState
from infonce.schedule import Counting, Load
from infonce.train import deterministic, step_seed

_LOSS_PAIRS = 4_096  # of a batch whose loss is timed; beyond that it grows with the square


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsed:
    """One step that was computed."""

    load: Load
    seconds: float
    """Of its gradient."""
    rest_seconds: float
    """Of the optimizer, which takes the same in every step."""
    peak_memory_bytes: int
    """Of the process, up to here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """A run whose steps can be computed one by one, in any order; the weights stay as they are."""

    ready: Prepared
    counting: Counting
    joint: JointBatch
    state: RunState

    @classmethod
    @contextmanager
    def of(cls, encoder: Encoder, ready: Prepared, *, stop: Callable[[], bool]) -> Iterator["Rehearsal"]:
        """Inside, everything is as in a run: adapters, optimizer, a queue that is full."""
        keep_freed_memory()
        config, encoded = ready.config, Encoded.of(encoder)
        with adapted(encoder, config.lora, seed=config.seed), deterministic(config.deterministic):
            joint = JointBatch.build(encoder, ready.table, tokens=ready.tokens, config=config, stop=stop)
            objective = joint.objective
            if objective.past is not None:
                vectors = torch.randn(config.loss.queue_size, encoder.dimensions, device=encoder.device)
                objective.past.queue.push(nn.functional.normalize(vectors), -1 - np.arange(len(vectors)))
            optimizer = build_optimizer(encoder.backbone, config, temperature=objective.temperature)
            for group in optimizer.param_groups:
                group["lr"] = 0.0
            state = RunState(model=ModelState(backbone=encoder.backbone, objective=objective), optimizer=optimizer)
            counting = Counting(ready=ready, encoded=encoded, budget=joint.budget)
            yield cls(ready=ready, counting=counting, joint=joint, state=state)

    @property
    def bytes_per_token(self) -> float:
        """What the graph of a padded token keeps in the memory of this process."""
        return self.joint.budget.bytes_per_token if self.joint.encoder.device.type == "cpu" else 0.0

    def some(self, step: int, count: int) -> Ids:
        """So many of the pairs of that step; those with negatives first where the loss is nothing without any."""
        pairs = self.counting.pairs(step)
        if self.ready.config.loss.negatives is not Negatives.SHARED:
            held = np.diff(self.ready.table.negative_offsets)[pairs]
            pairs = pairs[np.argsort(-held, kind="stable")]
        return pairs[:count]

    def step(self, pairs: Ids) -> Rehearsed:
        """The step over these pairs was computed.

        Raises:
            OutOfMemory: the device has no memory for it.
            Stopped: the run's `stop()` was true at a chunk's edge.
        """
        backbone, config = self.joint.encoder.backbone, self.ready.config
        batch = self.ready.table.batch(pairs, loss=config.loss)
        torch.manual_seed(step_seed(config.seed, 0, rank=0))
        began = perf_counter()
        try:
            self.joint.backward(batch)
        except torch.OutOfMemoryError as error:
            size = f"a step of {len(pairs)} pairs in chunks of {config.max_chunk_tokens} tokens"
            remedy = "a run would try half of that once; lower max_seq_length, batch_size or max_chunk_tokens"
            raise OutOfMemory(f"the device has no memory for {size}; {remedy}") from error
        float(nn.utils.clip_grad_norm_(backbone.parameters(), config.max_grad_norm))
        computed = perf_counter()
        self.state.optimizer.step()
        self.state.optimizer.zero_grad()
        self.joint.objective.after_step()
        return Rehearsed(
            load=self.counting.load(pairs),
            seconds=computed - began,
            rest_seconds=perf_counter() - computed,
            peak_memory_bytes=peak_memory_bytes(),
        )

    def loss_seconds(self, step: int) -> float:
        """What the loss of that whole step takes, of vectors that are drawn, without encoding anything."""
        if self.joint.stop():
            raise Stopped("stopped before the loss was measured")
        whole = self.counting.pairs(step)
        batch = self.ready.table.batch(self.some(step, _LOSS_PAIRS), loss=self.ready.config.loss)
        encoder, slow = self.joint.encoder, self.joint.objective.past and self.joint.objective.past.slow
        drawn = torch.randn(len(batch.rows), encoder.dimensions, device=encoder.device)
        vectors = nn.functional.normalize(drawn).requires_grad_()
        began = perf_counter()
        loss = self.joint.objective.loss(vectors, batch, keys=vectors.detach() if slow else None)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()
        taken = perf_counter() - began
        self.joint.forget_gradients()
        return taken * max(1.0, len(whole) / _LOSS_PAIRS) ** 2

    def save_seconds(self, scratch: Path | None) -> float:
        """What a checkpoint takes; it was written beside the others and is gone."""
        with TemporaryDirectory(dir=scratch, prefix="infonce-estimate-") as folder:
            began = perf_counter()
            save(Checkpoints(folder=Path(folder)), self.state, curve=[], facts={})
            return perf_counter() - began
