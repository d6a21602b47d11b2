"""Packed texts give the numbers and gradients of padded ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from infonce.config import Attention
from infonce.encoder import Encoder
from infonce.packing import Packing, can_pack, is_packed, set_attention
from infonce.tokens import TokenizedTexts
from tests.factories import sentences, tiny_encoder

Rows = NDArray[np.int64]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("kind", [Attention.FUSED, Attention.PLAIN])
@pytest.mark.parametrize("in_order", [True, False])
def test_packed_texts_give_the_vectors_and_gradients_of_padded_ones(
    kind: Attention, family: str, in_order: bool, tmp_path: Path
) -> None:
    encoder = tiny_encoder(tmp_path / "model", family)
    tokens = _some_tokens(encoder)
    rows = np.argsort(-tokens.lengths, kind="stable") if in_order else np.arange(len(tokens.lengths))
    set_attention(encoder.backbone, kind)
    assert is_packed(encoder.backbone)
    packed = _vectors_and_gradient(encoder, tokens, rows)
    encoder.backbone.set_attn_implementation(kind.value)  # type: ignore[operator]
    assert not is_packed(encoder.backbone)
    padded = _vectors_and_gradient(encoder, tokens, rows)
    for found, expected in zip(packed, padded, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert padded[1].abs().max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_text_without_tokens_and_a_padding_id_within_a_text_are_read_as_if_padded(
    family: str, tmp_path: Path
) -> None:
    encoder = tiny_encoder(tmp_path / "model", family)
    pad = encoder.layout.pad_id
    texts = [[5, 6, 7, pad, 8], [], [9, pad], [4]]
    ids = np.array([token for text in texts for token in text], dtype=np.int32)
    tokens = TokenizedTexts(ids, np.cumsum([0, *map(len, texts)], dtype=np.int64))
    packed = encoder.embed(tokens, np.arange(4))
    assert packed[1].abs().max() == 0
    assert encoder.embed(tokens, np.array([1])).tolist() == [[0.0] * encoder.dimensions]
    encoder.backbone.set_attn_implementation("sdpa")  # type: ignore[operator]
    torch.testing.assert_close(packed, encoder.embed(tokens, np.arange(4)), rtol=1e-4, atol=1e-6)


def test_tokens_stand_in_rows_of_their_own(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    tokens = TokenizedTexts(np.array([5, 6, 7, 8, 9], dtype=np.int32), np.array([0, 2, 2, 4, 5]))
    packing = Packing.of(tokens, np.array([3, 0, 1, 2]), backbone=encoder.backbone, pad_id=0)
    assert packing.ids.tolist() == [[9, 5, 6, 0, 7, 8]] and packing.positions.tolist() == [[0, 0, 1, 0, 0, 1]]
    assert packing.runs == ((1, 1), (1, 2), (1, 1), (1, 2))
    assert packing.mask.tolist() == [[True, False], [True, True], [False, False], [True, True]]
    states = torch.arange(1.0, 7.0)[:, None]
    assert packing.padded(states)[..., 0].tolist() == [[1, 0], [2, 3], [4, 0], [5, 6]]


@pytest.mark.parametrize("family", ["mpnet", "modernbert", "decoder"])
def test_models_that_packing_was_not_written_for_read_padded_texts(family: str, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model", family)
    assert not can_pack(encoder.backbone) and not is_packed(encoder.backbone)


def test_packing_leaves_no_trace_in_a_saved_model(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    encoder.save(tmp_path / "saved")
    assert "packed" not in (tmp_path / "saved" / "config.json").read_text()


def _some_tokens(encoder: Encoder) -> TokenizedTexts:
    return encoder.tokenize([*sentences(24), "red", "red cat " * 20])


def _vectors_and_gradient(encoder: Encoder, tokens: TokenizedTexts, rows: Rows) -> tuple[Tensor, Tensor]:
    encoder.backbone.zero_grad()
    vectors = encoder.embed(tokens, rows)
    (vectors * torch.arange(vectors.numel()).view_as(vectors).cos()).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in encoder.backbone.parameters()]
    return vectors.detach(), torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
