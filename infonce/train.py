"""The training loop, read from top to bottom.

A step encodes each distinct text of its batch once, in length-sorted chunks; takes the loss over the joint batch; and
sends the loss's gradient back chunk by chunk. Between any two chunks it asks whether to stop.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
import torch.utils.deterministic as determinism
from torch import nn

from infonce.backbone import set_dropout
from infonce.batches import PairTable, batch_rows, num_batches
from infonce.calibrate import measure
from infonce.checkpoint import Checkpoints, Keeper, RunState, Saved, check_same_run, newest
from infonce.config import AUTO, HardNegatives, TrainConfig
from infonce.distributed import Processes
from infonce.encoder import Encoder
from infonce.errors import ConfigError, NonFiniteLoss
from infonce.graph_budget import affordable_gb
from infonce.joint import JointBatch, check_same_start, check_together
from infonce.optimizer import build_optimizer, share_of_peak
from infonce.pairs import Pair
from infonce.precision import Choice
from infonce.tokens import TokenizedTexts

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
    temperature: float
    """What the loss was computed with."""
    num_tokens: int
    elapsed_seconds: float
    """Since the run began, attempts that were broken off included."""
    pairs_per_second: float
    eta_seconds: float


class Progress(Protocol):
    """Who watches a run."""

    def step(self, record: StepRecord) -> None:
        """Take note of a finished step."""

    def measured(self, choice: Choice) -> None:
        """Take note of what this machine computes fastest."""

    def resumed(self, step: int) -> None:
        """Take note that the run goes on after that many steps, which an earlier one has made."""

    def unsaved(self, reason: str) -> None:
        """Take note that a checkpoint could not be written; the run goes on and tries again."""

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
    temperature: float
    """At the end; learnt, or the config's."""
    seconds: float
    """Of all attempts."""


def train(
    encoder: Encoder,
    pairs: Sequence[Pair],
    *,
    config: TrainConfig,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
) -> TrainResult:
    """Fine-tune `encoder` in place on `pairs`, going on from the newest checkpoint if there is one.

    The weights are a function of encoder, pairs, config and machine: order and dropout are seeded by step, and a run
    that was broken off and goes on ends with the same bits.

    Raises:
        ConfigError: config, pairs and model do not fit together.
        CheckpointMismatch: the checkpoints belong to another run.
        NonFiniteLoss: the loss or its gradient left the numbers; the weights are those of the last good step.
        Stopped: `progress.stop_requested()`; the unfinished step was dropped, the last finished one was saved.
    """
    start = time.perf_counter()
    processes = Processes.current()
    together = processes.count > 1
    identity = _identity(encoder, pairs, config=config) if together or checkpoints is not None else {}
    saved = None if checkpoints is None else newest(checkpoints)
    check_same_start({**identity, "step": saved.step if saved else 0}, processes, device=encoder.device)
    if saved is not None:
        check_same_run(saved, facts=identity)
    config = config.resolve(len(pairs))
    max_negatives = config.max_negatives if config.hard_negatives is HardNegatives.ALL else 0
    table = PairTable.build(pairs, prompts=encoder.layout.prompts, max_negatives=max_negatives)
    check_together(config, table, encoder=encoder)
    tokens = encoder.tokenize(table.rows)
    dropout = float(config.dropout)
    if set_dropout(encoder.backbone, dropout) == 0 < dropout:
        raise ConfigError(f"dropout is {dropout} and this model has no layer for it; set it to 0", param="dropout")
    config, choice = _decided(encoder, tokens, config=config, saved=saved)
    progress.measured(choice)
    encoder.backbone.set_attn_implementation(choice.attention.value)  # type: ignore[operator]

    joint = JointBatch.build(encoder, table, tokens=tokens, config=config, stop=progress.stop_requested)
    objective = joint.objective
    optimizer = build_optimizer(encoder.backbone, config, temperature=objective.temperature)
    state = RunState(backbone=encoder.backbone, optimizer=optimizer, objective=objective)
    curve: list[StepRecord] = []
    if saved is not None:
        state.load(saved.tensors)
        curve = [StepRecord(**record) for record in saved.curve]
        progress.resumed(saved.step)
        saved = None  # its tensors would stay in memory as long as this function runs
    facts = {**identity, "config": config.to_dict(), "choice": choice.to_dict(), "processes": processes.count}
    place = checkpoints if processes.rank == 0 else None
    keeper = Keeper(place, state, curve=curve, facts=facts, unsaved=progress.unsaved)

    earlier_seconds = curve[-1].elapsed_seconds if curve else 0.0
    per_epoch = num_batches(len(pairs), int(config.batch_size))
    total_steps = config.num_steps(len(pairs))
    speed = _Speed()
    with _deterministic(config.deterministic), keeper.saving_on_stop():
        for step in range(len(curve), total_steps):
            epoch, number = divmod(step, per_epoch)
            chosen = batch_rows(len(pairs), int(config.batch_size), seed=config.seed, epoch=epoch, batch=number)
            batch = table.batch(chosen, loss=config.loss)
            torch.manual_seed(step_seed(config.seed, step, rank=processes.rank))  # replays whatever came before
            share = share_of_peak(step, total_steps, warmup_ratio=config.warmup_ratio)
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            rate = float(optimizer.param_groups[0]["lr"])
            temperature = objective.temperature_now
            loss = joint.backward(batch)
            norm = float(nn.utils.clip_grad_norm_(encoder.backbone.parameters(), config.max_grad_norm))
            if not math.isfinite(loss + norm):
                raise NonFiniteLoss(_non_finite(step, rate, temperature=temperature), step=step)
            optimizer.step()
            optimizer.zero_grad()
            objective.after_step()

            speed.add(len(chosen))
            record = StepRecord(
                step=step + 1,
                total_steps=total_steps,
                epoch=(step + 1) / per_epoch,
                loss=loss,
                learning_rate=rate,
                grad_norm=norm,
                temperature=temperature,
                num_tokens=int(tokens.lengths[batch.rows].sum()),
                elapsed_seconds=earlier_seconds + time.perf_counter() - start,
                pairs_per_second=speed.per_second,
                eta_seconds=(total_steps - step - 1) * len(pairs) / per_epoch / speed.per_second,
            )
            curve.append(record)
            progress.step(record)
            keeper.save_if_due()
    encoder.backbone.eval()
    return TrainResult(
        config=config,
        choice=choice,
        curve=tuple(curve),
        num_pairs=len(pairs),
        trained_tokens=sum(record.num_tokens for record in curve),
        temperature=objective.temperature_now,
        seconds=earlier_seconds + time.perf_counter() - start,
    )


def step_seed(seed: int, step: int, *, rank: int) -> int:
    """What the generators of a step start from; another one in each process, or their dropouts would be equal."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=8).digest()) >> 1


def _decided(
    encoder: Encoder, tokens: TokenizedTexts, *, config: TrainConfig, saved: Saved | None
) -> tuple[TrainConfig, Choice]:
    """The config without any `auto`, and what decided it: measured once, by the attempt that began the run.

    The memory for graphs is what this machine has now; it changes no bit.
    """
    processes = Processes.current()
    if config.max_graph_gb == AUTO:
        config = replace(config, max_graph_gb=affordable_gb(encoder.device, num_processes=processes.count))
    if saved is not None:
        earlier = TrainConfig.from_dict(saved.facts["config"])
        return replace(earlier, max_graph_gb=config.max_graph_gb), Choice.from_dict(saved.facts["choice"])
    if config.max_chunk_tokens == AUTO:
        config = replace(config, max_chunk_tokens=encoder.chunk_tokens)
    measured = processes.from_first(lambda: measure(encoder, tokens, config=config).to_dict(), device=encoder.device)
    choice = Choice.from_dict(measured)
    return replace(config, precision=choice.precision, attention=choice.attention), choice


def _identity(encoder: Encoder, pairs: Sequence[Pair], *, config: TrainConfig) -> dict[str, Any]:
    """What two attempts at one run have in common; the memory that graphs may take changes no bit."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.anchor, pair.positive, *pair.negatives]).encode())
    given = {name: value for name, value in config.to_dict().items() if name != "max_graph_gb"}
    records = [field.name for field in fields(StepRecord)]
    return {"encoder": encoder.fingerprint(), "pairs": digest.hexdigest(), "config as given": given, "records": records}


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
        f"{temperature:.3g}: lower the learning rate (2e-5 to 1e-4 is usual)"
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
