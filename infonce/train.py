"""The training loop, read from top to bottom.

A step encodes each distinct text of its batch once, in length-sorted chunks; takes the loss over the joint batch; and
sends the loss's gradient back chunk by chunk. Between any two chunks it asks whether to stop.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.utils.deterministic as determinism
from torch import nn

from infonce.backbone import set_dropout
from infonce.batches import PairTable, batch_rows, num_batches
from infonce.calibrate import measure
from infonce.config import AUTO, HardNegatives, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import NonFiniteLoss
from infonce.joint import JointBatch
from infonce.optimizer import build_optimizer, learning_rate
from infonce.pairs import Pair
from infonce.precision import Choice

_SPEED_WINDOW_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """What one optimizer step did."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    pairs_per_second: float
    eta_seconds: float


class Progress(Protocol):
    """Who watches a run."""

    def step(self, record: StepRecord) -> None:
        """Take note of a finished step."""

    def measured(self, choice: Choice) -> None:
        """Take note of what this machine computes fastest."""

    def stop_requested(self) -> bool:
        """Whether the run should end; asked at every chunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What a run did; the weights are in the encoder it was given."""

    config: TrainConfig
    choice: Choice
    curve: tuple[StepRecord, ...]
    num_pairs: int
    trained_tokens: int
    seconds: float


def train(encoder: Encoder, pairs: Sequence[Pair], *, config: TrainConfig, progress: Progress) -> TrainResult:
    """Fine-tune `encoder` in place on `pairs`.

    The weights are a function of encoder, pairs, config and machine: order and dropout are seeded by step.

    Raises:
        ConfigError: too few pairs for the config.
        NonFiniteLoss: the loss or its gradient left the numbers; the weights are those of the last good step.
        Stopped: `progress.stop_requested()`; the unfinished step was dropped.
    """
    start = time.perf_counter()
    config = config.resolve(len(pairs))
    max_negatives = config.max_negatives if config.hard_negatives is HardNegatives.ALL else 0
    table = PairTable.build(pairs, prompts=encoder.layout.prompts, max_negatives=max_negatives)
    tokens = encoder.tokenize(table.rows)
    if config.max_chunk_tokens == AUTO:
        config = replace(config, max_chunk_tokens=encoder.chunk_tokens)
    set_dropout(encoder.backbone, float(config.dropout))
    choice = measure(encoder, tokens, config=config)
    progress.measured(choice)
    encoder.backbone.set_attn_implementation(choice.attention.value)  # type: ignore[operator]
    config = replace(config, precision=choice.precision, attention=choice.attention)

    joint = JointBatch(encoder=encoder, tokens=tokens, config=config, stop=progress.stop_requested)
    optimizer = build_optimizer(encoder.backbone, config)
    per_epoch = num_batches(len(pairs), int(config.batch_size))
    total_steps = config.num_steps(len(pairs))
    speed = _Speed()
    curve: list[StepRecord] = []
    trained_tokens = 0
    with _deterministic(config.deterministic):
        for step in range(total_steps):
            epoch, number = divmod(step, per_epoch)
            chosen = batch_rows(len(pairs), int(config.batch_size), seed=config.seed, epoch=epoch, batch=number)
            batch = table.batch(chosen)
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout replays whatever came before
            rate = learning_rate(step, total_steps, config=config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = joint.backward(batch)
            norm = float(nn.utils.clip_grad_norm_(encoder.backbone.parameters(), config.max_grad_norm))
            if not math.isfinite(loss + norm):
                raise NonFiniteLoss(_non_finite(step, rate, temperature=config.temperature), step=step)
            optimizer.step()
            optimizer.zero_grad()

            trained_tokens += int(tokens.lengths[batch.rows].sum())
            speed.add(len(chosen))
            record = StepRecord(
                step=step + 1,
                total_steps=total_steps,
                epoch=(step + 1) / per_epoch,
                loss=loss,
                learning_rate=rate,
                grad_norm=norm,
                pairs_per_second=speed.per_second,
                eta_seconds=(total_steps - step - 1) * len(pairs) / per_epoch / speed.per_second,
            )
            curve.append(record)
            progress.step(record)
    encoder.backbone.eval()
    return TrainResult(
        config=config,
        choice=choice,
        curve=tuple(curve),
        num_pairs=len(pairs),
        trained_tokens=trained_tokens,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    filled = determinism.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(wanted)
    determinism.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs a pass over every new tensor; none is read raw
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        determinism.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def _non_finite(step: int, rate: float, *, temperature: float) -> str:
    return (
        f"the loss is not a finite number at step {step + 1}; the learning rate was {rate:.2g} and the temperature "
        f"{temperature}: lower the learning rate (2e-5 to 1e-4 is usual)"
    )


class _Speed:
    """Pairs per second over the last 20 seconds: the first steps, which warm caches up, are soon forgotten."""

    def __init__(self) -> None:
        self._seen = [(time.perf_counter(), 0)]

    def add(self, pairs: int) -> None:
        now = time.perf_counter()
        self._seen.append((now, self._seen[-1][1] + pairs))
        while len(self._seen) > 2 and self._seen[1][0] < now - _SPEED_WINDOW_SECONDS:
            self._seen.pop(0)

    @property
    def per_second(self) -> float:
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / max(last - first, 1e-9)
