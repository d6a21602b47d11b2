"""The training loop, read from top to bottom.

A step encodes each distinct text of its batch once, in length-sorted chunks; takes the loss over the joint batch; and
sends the loss's gradient back chunk by chunk. Between any two chunks it asks whether to stop.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.utils.deterministic as determinism
from torch import nn

from infonce.allocator import keep_freed_memory
from infonce.batches import batch_rows
from infonce.checkpoint import Checkpoints, Keeper, check_same_run, newest
from infonce.config import TrainConfig
from infonce.distributed import Processes
from infonce.encoder import Encoder
from infonce.errors import NonFiniteLoss
from infonce.halving import Halving
from infonce.joint import JointBatch, check_same_start
from infonce.judging import judge_of
from infonce.lora import adapted
from infonce.optimizer import build_optimizer, share_of_peak
from infonce.pairs import Pair
from infonce.prepare import identity, prepare
from infonce.records import NOTHING_BESIDE, Beside, Progress, Speed, StepRecord, TrainResult
from infonce.remining import Remining
from infonce.run_state import BestState, ModelState, RunState


def train(
    encoder: Encoder,
    pairs: Sequence[Pair],
    *,
    config: TrainConfig,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
    beside: Beside = NOTHING_BESIDE,
) -> TrainResult:
    """Fine-tune `encoder` in place on `pairs`, going on from the newest checkpoint if there is one.

    The weights are a function of encoder, pairs, config and machine: order and dropout are seeded by step, and a run
    that was broken off and goes on ends with the same bits.

    Raises:
        ConfigError: config, pairs and model do not fit together.
        CheckpointMismatch: the checkpoints belong to another run.
        NonFiniteLoss: the loss or its gradient left the numbers; the weights are those of the last good step.
        OutOfMemory: the device has no memory for a step, not even in chunks of half the size.
        Stopped: `progress.stop_requested()`; the unfinished step was dropped, the last finished one was saved.
    """
    start, processes, evaluate = time.perf_counter(), Processes.current(), beside.evaluate
    keep_freed_memory()
    held = {} if evaluate is None or config.early_stopping is None else {"held-out data": evaluate.digest}
    known = processes.count > 1 or checkpoints is not None
    who = identity(encoder, pairs, config=config, corpus=beside.corpus) if known else {}
    saved = None if checkpoints is None else newest(checkpoints, damaged=progress.damaged)
    check_same_start({**who, "step": saved.step if saved else 0}, processes, device=encoder.device)
    if saved is not None:
        check_same_run(saved, facts={**who, **held})
    ready = prepare(encoder, pairs, config=config, progress=progress, saved=saved, corpus=beside.corpus)
    config, table, tokens, choice = ready.config, ready.table, ready.tokens, ready.choice
    total_steps, per_epoch = config.num_steps(len(table)), ready.steps_per_epoch

    with adapted(encoder, config.lora, seed=config.seed):
        joint = JointBatch.build(encoder, table, tokens=tokens, config=config, stop=progress.stop_requested)
        objective = joint.objective
        optimizer = build_optimizer(encoder.backbone, config, temperature=objective.temperature)
        model = ModelState(backbone=encoder.backbone, objective=objective)
        best = None
        if config.early_stopping is not None:
            rule, device = config.early_stopping, encoder.device
            judge = judge_of(rule, evaluate, processes=processes, device=device, progress=progress)
            best = BestState(rule, judge, model=model, total_steps=total_steps)
        negatives = Remining(encoder, ready, pairs=pairs, beside=beside)
        state = RunState(model=model, optimizer=optimizer, best=best, negatives=negatives)
        curve: list[StepRecord] = []
        if saved is not None:
            state.load(saved.tensors)
            curve = [StepRecord(**record) for record in saved.curve]
            progress.resumed(saved.step)
            saved = None  # its tensors would stay in memory as long as this function runs
        facts = {**who, **held, "config": config.to_dict(), "choice": choice.to_dict(), "machine": ready.machine}
        place = checkpoints if processes.rank == 0 else None
        keeper = Keeper(place, state, curve=curve, facts=facts, progress=progress)
        gradients = Halving(joint, usual=choice.max_chunk_tokens, keeper=keeper, progress=progress)

        earlier_seconds = curve[-1].elapsed_seconds if curve else 0.0

        def elapsed() -> float:
            return earlier_seconds + time.perf_counter() - start - (0.0 if best is None else best.seconds)

        speed = Speed()
        with deterministic(config.deterministic), keeper.saving_on_stop():
            for step in range(len(curve), total_steps):
                if best is not None:
                    best.heed(step)
                has_enough = best is not None and best.exhausted
                if has_enough or (curve and processes.any(beside.finish(), device=encoder.device)):
                    break
                epoch, number = divmod(step, per_epoch)
                table = negatives.table(epoch, step, progress=progress)
                chosen = batch_rows(len(table), int(config.batch_size), seed=config.seed, epoch=epoch, batch=number)
                batch = table.batch(chosen, loss=config.loss)
                share = share_of_peak(step, total_steps, warmup_ratio=config.warmup_ratio)
                for group in optimizer.param_groups:
                    group["lr"] = share * group["peak"]
                rate = float(optimizer.param_groups[0]["lr"])
                temperature = objective.temperature_now
                loss = gradients.backward(batch, seed=step_seed(config.seed, step, rank=processes.rank))
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
                    elapsed_seconds=elapsed(),
                    pairs_per_second=speed.per_second,
                    eta_seconds=(total_steps - step - 1) * len(table) / per_epoch / speed.per_second,
                )
                curve.append(record)
                progress.step(record)
                keeper.save_if_due()
            if best is not None:
                best.heed(len(curve), is_last=True)
            keeper.save_at_end()
            if best is not None:
                best.restore()
    encoder.end_training(config.loss.matryoshka_dims)
    return TrainResult(
        config=gradients.config,
        choice=choice,
        curve=tuple(curve),
        num_pairs=len(table),
        trained_tokens=sum(record.num_tokens for record in curve),
        temperature=objective.temperature_now,
        best_step=None if best is None else best.step,
        judgements=() if best is None else tuple(best.history),
        seconds=elapsed(),
    )


def step_seed(seed: int, step: int, *, rank: int) -> int:
    """What the generators of a step start from; another one in each process, or their dropouts would be equal."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=8).digest()) >> 1


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
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
