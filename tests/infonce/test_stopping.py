"""Whoever works for long asks, between two parts of the work, whether to stop."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infonce.calibrate import measure
from infonce.config import Attention, Precision, Side, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import Stopped
from infonce.evaluation import evaluate
from infonce.index import QUERIES_AT_ONCE
from infonce.qrels import EvalSet
from infonce.train import train
from tests.factories import sentences, tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher


def after(count: int) -> Callable[[], bool]:
    """A wish to stop that comes with that question."""
    asked = iter(range(count - 1))
    return lambda: next(asked, None) is None


class Known:
    """A `TextEncoder` of random vectors."""

    def encode(self, texts: list[str], *, side: Side) -> np.ndarray:
        return np.random.default_rng(0).random((len(texts), 4), dtype=np.float32)


def test_many_texts_become_tokens_in_blocks(encoder: Encoder) -> None:
    texts = ["red cat"] * 20_000
    with pytest.raises(Stopped, match="became tokens"):
        encoder.tokenize(texts, stop=after(2))
    assert len(encoder.tokenize(texts, stop=after(3)).lengths) == 20_000
    with pytest.raises(Stopped, match="became tokens"):
        encoder.encode(texts, stop=after(1))


def test_many_queries_are_searched_in_blocks() -> None:
    names = [f"q{number}" for number in range(3 * QUERIES_AT_ONCE)]
    judged = EvalSet(
        corpus={"d": "a text", "e": "another"},
        queries=dict.fromkeys(names, "a text"),
        qrels={name: {"d": 1} for name in names},
    )
    with pytest.raises(Stopped, match="searching"):
        evaluate(Known(), judged, ks=[1], stop=after(3))
    assert evaluate(Known(), judged, ks=[1], stop=after(4)).num_queries == len(names)


def test_the_machine_is_measured_in_parts(encoder: Encoder) -> None:
    tokens, config = encoder.tokenize(sentences(40)), TrainConfig(precision=Precision.FLOAT32)
    with pytest.raises(Stopped, match="measured"):
        measure(encoder, tokens, config=config, num_tokens=10_000_000, stop=after(8))


class Clock(Watcher):
    """Notes the longest time between two questions, and wishes to stop in the second step."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at = time.monotonic()
        self.longest = 0.0
        self.asked_in_second = 0

    def stop_requested(self) -> bool:
        now = time.monotonic()
        self.asked_at, self.longest = now, max(self.longest, now - self.asked_at)
        self.asked_in_second += len(self.steps) == 1
        return self.asked_in_second == 20


def test_a_wish_is_heard_soon_in_the_middle_of_a_batch_of_4096(tmp_path: Path) -> None:
    config = TrainConfig(
        n_epochs=1, batch_size=4096, max_chunk_tokens=1024, precision=Precision.FLOAT32, attention=Attention.FUSED
    )
    clock = Clock()
    with pytest.raises(Stopped):
        train(tiny_encoder(tmp_path / "m"), toy_pairs(8192), config=config, progress=clock)
    assert len(clock.steps) == 1 and clock.asked_in_second == 20
    assert clock.longest < 10.0
