"""Int8 products are exact, and an encoder in int8 stays close to itself, whatever stands beside a text."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from infonce.calibrate import fastest_serving
from infonce.config import EncoderConfig, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.hub import MINILM, Hub, HubMode
from infonce.int8 import Int8Linear, int8_copy, round_rows
from infonce.train import train
from tests.factories import FAMILIES, sentences, tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher


@pytest.mark.parametrize("shape", [(1, 32, 8), (16, 384, 96), (33, 1_536, 40)], ids=str)
@pytest.mark.parametrize("extreme", [False, True])
def test_products_are_those_of_whole_numbers(shape: tuple[int, int, int], extreme: bool) -> None:
    torch.manual_seed(0)
    rows, width, outputs = shape
    linear, inputs = nn.Linear(width, outputs), torch.randn(rows, width)
    if extreme:  # where 8-bit weights overflow the 16 bits in which AVX2 adds pairs of products
        inputs = torch.where(torch.arange(rows) % 2 == 0, 5.0, -5.0)[:, None].expand(rows, width)
        nn.init.constant_(linear.weight, 0.25)
    scales = linear.weight.detach().abs().amax(dim=1) / 63
    weights = (linear.weight.detach() / scales[:, None]).round().long()
    rounded, input_scales = round_rows(inputs)
    sums = ((rounded.long() - 128) @ weights.T).double()
    expected = sums * scales.double() * input_scales.double() + linear.bias.detach().double()
    torch.testing.assert_close(Int8Linear(linear)(inputs).double(), expected, rtol=1e-5, atol=1e-5)


def test_rounding_a_row_is_off_by_half_a_step_at_most() -> None:
    rows = torch.cat([torch.randn(50, 20) * torch.logspace(-6, 6, 50)[:, None], torch.zeros(1, 20)])
    rounded, scales = round_rows(rows)
    assert int(rounded.min()) >= 1
    assert ((rounded.float() - 128) * scales - rows).abs().le(0.50001 * scales).all()
    assert rounded[-1].eq(128).all()


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


def test_trained_weights_are_rounded_anew_and_untouched_ones_are_not(encoder: Encoder, watcher: Watcher) -> None:
    texts = sentences(10)
    before = encoder.encode(texts, precision=Precision.INT8)
    kept = encoder._int8.of(encoder.backbone)
    assert encoder._int8.of(encoder.backbone) is kept
    train(encoder, toy_pairs(8), config=TrainConfig(n_epochs=1, batch_size=4, learning_rate=1e-2), progress=watcher)
    after = encoder.encode(texts, precision=Precision.INT8)
    fresh = copy.copy(encoder)
    fresh.backbone = int8_copy(encoder.backbone)
    np.testing.assert_array_equal(after, fresh.encode(texts))
    assert np.abs(after - before).max() > 0.01


def test_int8_on_a_device_that_has_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"int8.* on 'meta'; use float32 or bf16"):
        int8_copy(nn.Linear(4, 4, device="meta"))


def test_the_precision_of_serving_is_measured(encoder: Encoder) -> None:
    precision, seconds = fastest_serving(encoder)
    fast = min(seconds["encode_float32"] if "encode_float32" in seconds else seconds["encode_bf16"], 1e9)
    assert (precision is Precision.INT8) == (seconds["encode_int8"] < 0.9 * fast)


@pytest.mark.parametrize(("precision", "cosine"), [("float32", 0.99999), ("bf16", 0.9995), ("int8", 0.9995)])
def test_minilm_gives_a_text_its_vector_whatever_its_neighbours(precision: str, cosine: float) -> None:
    path = Hub(mode=HubMode.OFF).resolve(MINILM).path
    encoder = Encoder.load(path, EncoderConfig(max_seq_length=32))
    texts = ["cat", *sentences(4), "a longer text about nothing " * 3]
    together = encoder.encode(texts, precision=Precision(precision))
    alone = np.concatenate([encoder.encode([text], precision=Precision(precision)) for text in reversed(texts)])
    assert (together[::-1] * alone).sum(axis=1).min() >= cosine
    assert (together * encoder.encode(texts)).sum(axis=1).min() >= 0.995
