"""The gradient of a batch's own word table is that of the vocabulary."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infonce.batches import PairTable
from infonce.config import Attention, Precision, Prompts, TrainConfig
from infonce.encoder import Encoder
from infonce.joint import JointBatch
from infonce.word_table import WordTable
from tests.factories import FAMILIES, tiny_encoder, toy_pairs

CONFIG = TrainConfig(
    batch_size=8,
    precision=Precision.FLOAT32,
    attention=Attention.PLAIN,
    max_chunk_tokens=64,
    max_graph_gb=1.0,
    dropout=0.0,
)


def gradients(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Of a step over eight pairs in several chunks, by parameter."""
    encoder.backbone.zero_grad()
    table = PairTable.build(toy_pairs(8, negatives=1), prompts=Prompts(), max_negatives=1)
    tokens = encoder.tokenize(table.rows)
    joint = JointBatch.build(encoder, table, tokens=tokens, config=CONFIG, stop=lambda: False)
    joint.backward(table.batch(np.arange(8)))
    named = encoder.backbone.named_parameters()
    return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}


class Scaled(torch.nn.Embedding):
    """Does what a look-up does, and might do more."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_gradient_is_that_of_a_look_up_in_the_whole_vocabulary(family: str, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "m", family)
    with_table = gradients(encoder)
    encoder.backbone.get_input_embeddings().__class__ = Scaled  # no table is made for what is not a plain look-up
    without = gradients(encoder)
    assert with_table.keys() == without.keys()
    for name, gradient in without.items():
        torch.testing.assert_close(with_table[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_what_is_frozen_or_more_than_a_look_up_has_no_table(encoder: Encoder) -> None:
    ids, words = np.array([5, 7], dtype=np.int32), encoder.backbone.get_input_embeddings()
    assert WordTable.of(encoder.backbone, ids, pad_id=0) is not None
    words.weight.requires_grad_(False)
    assert WordTable.of(encoder.backbone, ids, pad_id=0) is None
    words.weight.requires_grad_(True)
    words.max_norm = 1.0
    assert WordTable.of(encoder.backbone, ids, pad_id=0) is None


def test_gradients_of_two_batches_add_up(encoder: Encoder) -> None:
    ids = np.array([3, 5, 7], dtype=np.int32)
    for _ in range(2):
        table = WordTable.of(encoder.backbone, ids, pad_id=0)
        assert table is not None
        table.look_up(torch.tensor([[3, 7], [7, 0]])).sum().backward()
        replace(table).give_back()
    grad = encoder.backbone.get_input_embeddings().weight.grad.sum(dim=1) / encoder.dimensions
    assert grad[[3, 5, 7]].tolist() == [2, 0, 4] and int((grad != 0).sum()) == 2  # the padding teaches nothing
