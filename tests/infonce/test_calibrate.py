"""What is measured decides, a little faster is not enough, and a short run is not measured for long."""

import pytest
import torch

from infonce.calibrate import fastest_attention, fastest_chunk, measure
from infonce.config import Attention, Precision, TrainConfig
from infonce.encoder import CHUNK_TOKENS_PACKED, Encoder
from tests.factories import sentences

CPU = torch.device("cpu")


class Clock:
    """Stands in for the time that things take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[object, float]) -> None:
        self._now, self._seconds = 0.0, seconds
        monkeypatch.setattr("time.perf_counter", lambda: self._now)

    def run(self, what: object) -> None:
        if (seconds := self._seconds[what]) < 0:
            raise torch.OutOfMemoryError
        self._now += seconds


@pytest.mark.parametrize(("plain", "chosen"), [(0.85, Attention.PLAIN), (0.95, Attention.FUSED)])
def test_plain_attention_has_to_be_faster_by_more_than_chance(
    plain: float, chosen: Attention, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, {Attention.FUSED: 1.0, Attention.PLAIN: plain})
    attention, seconds = fastest_attention(clock.run, CPU)
    assert attention is chosen
    assert seconds == pytest.approx({"attention_sdpa": 1.0, "attention_eager": plain})


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 0.9, 2.0), 512), ((1.0, 0.97, -1), 1_024), ((-1, 2, -1), 512)])
def test_a_chunk_size_has_to_be_faster_by_more_than_chance_and_fit_the_memory(
    seconds: tuple[float, ...], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [1_024, 512, 2_048]
    clock = Clock(monkeypatch, dict(zip(sizes, seconds, strict=True)))
    size, timed = fastest_chunk(clock.run, sizes)
    assert size == chosen
    assert timed.keys() == {f"chunk_{size}" for size, time in zip(sizes, seconds, strict=True) if time > 0}


def test_a_long_run_measures_chunks_and_a_short_one_takes_the_usual_size(encoder: Encoder) -> None:
    tokens = encoder.tokenize(sentences(40))
    config = TrainConfig(precision=Precision.FLOAT32)
    short = measure(encoder, tokens, config=config, num_tokens=50_000)
    assert short.max_chunk_tokens == CHUNK_TOKENS_PACKED and short.seconds.keys() == {
        "attention_sdpa",
        "attention_eager",
    }
    long = measure(encoder, tokens, config=config, num_tokens=10_000_000)
    sizes = {f"chunk_{int(factor * CHUNK_TOKENS_PACKED)}" for factor in (0.5, 1, 2)}
    assert sizes <= long.seconds.keys() and f"chunk_{long.max_chunk_tokens}" in sizes
    assert all(parameter.grad is None for parameter in encoder.backbone.parameters())
