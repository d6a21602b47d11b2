"""Int8 products are exact, and an encoder in int8 stays close to itself, whatever stands beside a text."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from infonce.calibrate import fastest_serving
from infonce.config import EncoderConfig, Precision
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.hub import MINILM, Hub, HubMode
from infonce.int8 import Int8Copies, Int8Linear, int8_copy, round_rows, round_weights
from tests.factories import FAMILIES, sentences, tiny_encoder


@pytest.mark.parametrize("shape", [(1, 33, 8), (16, 384, 96), (70, 1_536, 40)], ids=str)
@pytest.mark.parametrize("extreme", [False, True])
def test_products_are_those_of_whole_numbers(shape: tuple[int, int, int], extreme: bool) -> None:
    torch.manual_seed(0)
    rows, width, outputs = shape
    linear, inputs = nn.Linear(width, outputs), torch.randn(rows, width)
    if extreme:  # where one more bit would overflow the 16 in which AVX2 adds pairs of products
        inputs = torch.where(torch.arange(width) == 0, 0.0, 5.0).expand(rows, width)
        nn.init.constant_(linear.weight, 0.25)
    weights, scales = (part.double() for part in round_weights(linear.weight.detach()))
    rounded, steps, lowest = (part.double() for part in round_rows(inputs))
    expected = (rounded * steps + lowest) @ (weights * scales[:, None]).T + linear.bias.detach().double()
    with torch.no_grad():
        torch.testing.assert_close(Int8Linear(linear)(inputs).double(), expected, rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 10_000), width=st.integers(1, 9))
def test_no_two_neighbouring_weights_overflow(seed: int, width: int) -> None:
    weights = torch.randn(5, width, generator=torch.Generator().manual_seed(seed)) ** 3
    rounded, scales = round_weights(weights)
    sizes = rounded.int().abs()
    assert all(int(sizes[:, k : k + 2].sum(dim=1).max()) <= 128 for k in range(0, width, 2))
    assert (rounded * scales[:, None] - weights).abs().le(0.501 * scales[:, None]).all()


def test_rounding_a_row_is_off_by_half_a_step_at_most() -> None:
    rows = torch.cat([torch.randn(50, 20) * torch.logspace(-6, 6, 50)[:, None], torch.zeros(1, 20)])
    rows = torch.cat([rows, rows + 1_000, torch.full((1, 20), -5.0)])
    rounded, scales, lowest = round_rows(rows)
    assert (rounded.double() * scales + lowest - rows).abs().le(0.52 * scales).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_int8_stays_close_to_float32_in_every_family(family: str, tmp_path: Path) -> None:
    encoder, texts = tiny_encoder(tmp_path / "model", family), sentences(30)
    found = encoder.encode(texts, precision=Precision.INT8)
    assert (found * encoder.encode(texts)).sum(axis=1).min() >= 0.995
    assert not any(isinstance(module, Int8Linear) for module in encoder.backbone.modules())


def test_weights_that_are_no_product_are_shared_with_the_copy(encoder: Encoder) -> None:
    shared = {tensor.data_ptr() for tensor in encoder.backbone.parameters()}
    copied = int8_copy(encoder.backbone)
    assert {tensor.data_ptr() for tensor in copied.parameters()} < shared
    assert not any(isinstance(module, nn.Linear) for module in copied.modules())


def test_weights_after_a_step_are_rounded_anew_and_untouched_ones_are_not(encoder: Encoder) -> None:
    texts = sentences(10)
    before = encoder.encode(texts, precision=Precision.INT8)
    kept = encoder._int8.of(encoder.backbone)
    assert encoder._int8.of(encoder.backbone) is kept
    optimizer = torch.optim.AdamW(encoder.backbone.parameters(), lr=1e-2, fused=True)  # as in a training
    vectors = encoder.embed(encoder.tokenize(texts), np.arange(10))
    vectors.backward(torch.randn(vectors.shape))  # type: ignore[no-untyped-call]
    optimizer.step()
    after = encoder.encode(texts, precision=Precision.INT8)
    encoder._int8 = Int8Copies()
    np.testing.assert_array_equal(after, encoder.encode(texts, precision=Precision.INT8))
    assert np.abs(after - before).max() > 0.01


def test_int8_on_a_device_that_has_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"int8.* on 'meta'; use float32 or bf16"):
        int8_copy(nn.Linear(4, 4, device="meta"))


def test_the_precision_of_serving_is_the_fastest_and_int8_only_by_a_tenth(encoder: Encoder) -> None:
    precision, seconds = fastest_serving(encoder)
    (other,) = seconds.keys() & {"encode_float32", "encode_bf16"}
    fastest = "encode_int8" if seconds["encode_int8"] < 0.9 * seconds[other] else other
    assert fastest == f"encode_{precision}"


def test_a_processor_without_int8_products_serves_in_another_precision(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Int8Linear, weights: torch.Tensor) -> None:
        raise ConfigError("precision is 'int8', whose products overflow on this processor", param="precision")

    monkeypatch.setattr(Int8Linear, "_refuse_overflow", refuse)
    precision, seconds = fastest_serving(encoder)
    assert precision is not Precision.INT8 and "encode_int8" not in seconds


@pytest.mark.parametrize(("name", "cosine"), [("float32", 0.99999), ("bf16", 0.9995), ("int8", 0.99999)])
def test_minilm_gives_a_text_its_vector_whatever_its_neighbours(name: str, cosine: float) -> None:
    precision = Precision(name)
    encoder = Encoder.load(Hub(mode=HubMode.OFF).resolve(MINILM).path, EncoderConfig(max_seq_length=16))
    texts = ["cat", *sentences(4), "a longer text about nothing"]
    together = encoder.encode(texts, precision=precision)
    alone = np.concatenate([encoder.encode([text], precision=precision) for text in reversed(texts)])
    assert (together[::-1] * alone).sum(axis=1).min() >= cosine
    assert (together * encoder.encode(texts)).sum(axis=1).min() >= 0.995
