"""A step that finds no memory is taken again in chunks of half the size, once in the life of a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from infonce.checkpoint import Checkpoints, newest
from infonce.config import Attention, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import OutOfMemory, Stopped
from infonce.loss_config import LossConfig
from infonce.records import TrainResult
from infonce.train import train
from tests.factories import tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher

WHOLE, HALF = 64, 32
CONFIG = TrainConfig(
    n_epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    dropout=0.1,
    max_chunk_tokens=WHOLE,
    precision=Precision.FLOAT32,
    attention=Attention.FUSED,
    loss=LossConfig(learn_temperature=True),
)
NUM_STEPS = 6


def cramped(folder: Path, room: Callable[[], int]) -> Encoder:
    """An encoder on a device with memory for that many tokens at once."""
    encoder = tiny_encoder(folder)

    def check(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens = named.get("input_ids", named.get("inputs_embeds"))
        if tokens.shape[0] * tokens.shape[1] > room():
            raise torch.OutOfMemoryError("CUDA out of memory.")

    encoder.backbone.register_forward_pre_hook(check, with_kwargs=True)
    return encoder


def finished(
    encoder: Encoder, watcher: Watcher, *, checkpoints: Checkpoints | None = None, config: TrainConfig = CONFIG
) -> TrainResult:
    return train(encoder, toy_pairs(24, negatives=2), config=config, progress=watcher, checkpoints=checkpoints)


def test_a_run_without_memory_goes_on_as_one_that_was_begun_in_half_the_chunks(tmp_path: Path) -> None:
    small, plain, watcher = cramped(tmp_path / "a", lambda: HALF), tiny_encoder(tmp_path / "b"), Watcher()
    result = finished(small, watcher)
    finished(plain, Watcher(), config=replace(CONFIG, max_chunk_tokens=HALF))
    assert watcher.chunk_sizes == [HALF] and len(watcher.steps) == NUM_STEPS
    assert (result.config.max_chunk_tokens, result.choice.max_chunk_tokens) == (HALF, WHOLE)
    assert small.fingerprint() == plain.fingerprint()


def test_memory_that_ends_in_the_middle_of_a_run_costs_no_finished_step(tmp_path: Path) -> None:
    watcher, kept = Watcher(), Checkpoints(folder=tmp_path / "kept")
    encoder = cramped(tmp_path / "a", lambda: HALF if len(watcher.steps) >= 3 else WHOLE)
    finished(encoder, watcher, checkpoints=kept)
    assert watcher.chunk_sizes == [HALF]
    assert [record.step for record in watcher.steps] == list(range(1, NUM_STEPS + 1))
    assert watcher.saved_steps == [3]  # so that whoever goes on from here knows


class Impatient(Watcher):
    """Asks to stop once the size was halved and a step made."""

    def stop_requested(self) -> bool:
        return bool(self.chunk_sizes) and len(self.steps) == 1


def test_later_attempts_keep_to_the_new_size(tmp_path: Path) -> None:
    kept, watcher = Checkpoints(folder=tmp_path / "kept"), Watcher()
    with pytest.raises(Stopped):
        finished(cramped(tmp_path / "a", lambda: HALF), Impatient(), checkpoints=kept)
    second, whole = cramped(tmp_path / "b", lambda: HALF), cramped(tmp_path / "c", lambda: HALF)
    finished(second, watcher, checkpoints=kept)
    finished(whole, Watcher())
    assert (watcher.resumed_after, watcher.chunk_sizes) == (1, [])
    assert second.fingerprint() == whole.fingerprint()


def test_memory_that_does_not_suffice_for_half_the_size_ends_the_run_with_a_remedy(tmp_path: Path) -> None:
    kept, watcher = Checkpoints(folder=tmp_path / "kept"), Watcher()
    encoder = cramped(tmp_path / "a", lambda: HALF // 2 if watcher.steps else HALF)
    with pytest.raises(OutOfMemory, match=r"chunks of 32 tokens, half of what .*; lower max_seq_length"):
        finished(encoder, watcher, checkpoints=kept)
    saved = newest(kept)
    assert watcher.chunk_sizes == [HALF] and saved is not None
    with pytest.raises(OutOfMemory):  # nor does a later attempt halve it again
        finished(cramped(tmp_path / "b", lambda: HALF // 2), watcher, checkpoints=kept)
