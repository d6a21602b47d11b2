"""InfoNCE equals a double loop, in value and gradient, and its masks do what they say."""

import math

import pytest
import torch
import torch.nn.functional as F
from info_nce import InfoNCE
from torch import Tensor

from infonce.losses import info_nce


def units(count: int, seed: int, dimensions: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dimensions, generator=generator), dim=-1)


def slow(anchors: Tensor, positives: Tensor, negatives: Tensor, masked: Tensor, temperature: float) -> Tensor:
    """The symmetric loss, written as the definition says, one similarity at a time."""
    size = len(anchors)
    candidates = [*positives, *negatives]
    total = torch.zeros(())
    for i in range(size):
        allowed = [c for c in range(len(candidates)) if c == i or not masked[i, c]]
        total = total - _log_share(anchors[i], [candidates[c] for c in allowed], allowed.index(i), temperature)
        allowed = [j for j in range(size) if j == i or not masked[j, i]]
        total = total - _log_share(positives[i], [anchors[j] for j in allowed], allowed.index(i), temperature)
    return total / (2 * size)


def _log_share(text: Tensor, others: list[Tensor], label: int, temperature: float) -> Tensor:
    scores = torch.stack([torch.dot(text, other) for other in others]) / temperature
    return scores[label] - torch.logsumexp(scores, 0)


@pytest.mark.parametrize("num_negatives", [0, 5])
@pytest.mark.parametrize("temperature", [0.02, 0.5])
def test_equals_a_double_loop_in_value_and_gradient(num_negatives: int, temperature: float) -> None:
    masked = torch.rand(6, 6 + num_negatives, generator=torch.Generator().manual_seed(3)) < 0.3
    gradients = []
    values = []
    for loss in (info_nce, slow):
        parts = [part.requires_grad_() for part in (units(6, 0), units(6, 1), units(num_negatives, 2))]
        if loss is info_nce:
            value = info_nce(*parts[:2], negatives=parts[2], temperature=temperature, also_positive=masked)
        else:
            value = slow(*parts, masked, temperature)
        value.backward()
        values.append(value.detach())
        gradients.append(torch.cat([part.grad for part in parts if part.grad is not None]))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_one_direction_equals_info_nce_pytorch() -> None:
    anchors, positives = units(7, 0), units(7, 1)
    theirs = InfoNCE(temperature=0.1)(anchors, positives)
    torch.testing.assert_close(info_nce(anchors, positives, temperature=0.1, symmetric=False), theirs)


@pytest.mark.parametrize("copies", [2, 4, 8])
def test_equal_positives_put_a_floor_under_the_loss_that_the_mask_removes(copies: int) -> None:
    vectors = torch.eye(8)[[0] * copies + list(range(1, 9 - copies))]
    same = vectors @ vectors.T > 0.5
    floor = copies / 8 * math.log(copies)
    assert info_nce(vectors, vectors, temperature=0.01).item() == pytest.approx(floor, abs=1e-6)
    assert info_nce(vectors, vectors, temperature=0.01, also_positive=same).item() == pytest.approx(0, abs=1e-6)


def test_a_mask_over_everything_leaves_the_label_and_no_nan() -> None:
    anchors = units(4, 0).requires_grad_()
    loss = info_nce(anchors, units(4, 1), also_positive=torch.ones(4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert anchors.grad is not None and torch.isfinite(anchors.grad).all()


def test_hard_negatives_do_not_reach_the_direction_from_document_to_query() -> None:
    anchors, positives, negatives = units(5, 0), units(5, 1), units(3, 2)
    there = info_nce(anchors, positives, negatives=negatives, symmetric=False)
    back = info_nce(positives, anchors, symmetric=False)
    torch.testing.assert_close(info_nce(anchors, positives, negatives=negatives), (there + back) / 2)


def test_logits_stay_in_float32_under_autocast() -> None:
    anchors, positives = units(16, 0, 64), units(16, 1, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = info_nce(anchors, positives, temperature=0.01)
    assert inside.dtype is torch.float32
    torch.testing.assert_close(inside, info_nce(anchors, positives, temperature=0.01), rtol=0, atol=0)
