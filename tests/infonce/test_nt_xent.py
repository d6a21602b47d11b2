"""NT-Xent and the loss with several positives equal their definitions and what other people's code computes."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from infonce.loss_config import LossConfig
from infonce.losses import info_nce_of_each, multi_positive_info_nce, nt_xent
from tests.infonce import obvious
from tests.infonce.obvious import units, value_and_gradients

EXAMPLES = settings(deadline=None, derandomize=True, max_examples=100)
CLOSE = {"rtol": 1e-8, "atol": 1e-9}
TEMPERATURES = st.floats(0.02, 2.0).map(partial(torch.tensor, dtype=torch.float64))
SHARES = st.sampled_from([0.0, 0.3, 0.7, 1.0])


def info_nce_logits(features: Tensor, n_views: int, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits and labels as in the SimCLR article, which takes features of shape (n_views · B, D), view by view."""
    labels = torch.cat([torch.arange(len(features) // n_views) for _ in range(n_views)])
    same = labels[None, :] == labels[:, None]
    features = F.normalize(features, dim=1)
    similarity_matrix = features @ features.T
    others = ~torch.eye(len(labels), dtype=torch.bool)
    same = same[others].view(len(labels), -1)
    similarity_matrix = similarity_matrix[others].view(len(labels), -1)
    positives = similarity_matrix[same].view(len(labels), -1)
    negatives = similarity_matrix[~same].view(len(labels), -1)
    logits = torch.cat([positives, negatives], dim=1) / temperature
    return logits, torch.zeros(len(logits), dtype=torch.long)


@EXAMPLES
@given(st.integers(2, 4), st.integers(1, 3), TEMPERATURES, SHARES, st.booleans(), st.sampled_from([None, (2,), (3, 4)]))
def test_nt_xent_equals_a_double_loop(
    num_views: int, size: int, tau: Tensor, share: float, sparse: bool, dims: tuple[int, ...] | None
) -> None:
    masked = obvious.mask(num_views * size, num_views * size, seed=size, share=share)
    inputs = [units(num_views, size, 4, seed=num_views), tau]
    given = masked.to_sparse() if sparse else masked if share else None
    weights = None if dims is None else (0.5, 2.0)[: len(dims)]
    config = LossConfig(matryoshka_dims=dims, matryoshka_weights=weights, num_views=num_views)

    def ours(views: Tensor, tau: Tensor) -> Tensor:
        return nt_xent(views, also_positive=given, temperature=tau, config=config)

    def slow(views: Tensor, tau: Tensor) -> Tensor:
        losses = [obvious.nt_xent(cut, masked=masked, temperature=tau) for cut in obvious.prefixes(views, dims)]
        return obvious.weighted_mean(losses, dims=dims, weights=weights, whole=4)

    torch.testing.assert_close(value_and_gradients(ours, *inputs), value_and_gradients(slow, *inputs), **CLOSE)


@EXAMPLES
@given(st.integers(1, 4), st.integers(1, 5), TEMPERATURES, SHARES, SHARES, st.booleans(), st.integers(0, 1_000))
def test_multi_positive_equals_a_double_loop(
    size: int, num_candidates: int, tau: Tensor, positive: float, share: float, sparse: bool, seed: int
) -> None:
    shape = (size, num_candidates)
    right, masked = obvious.mask(*shape, seed=seed, share=positive), obvious.mask(*shape, seed=seed + 1, share=share)
    right[torch.arange(size), torch.arange(size) % num_candidates] = True
    inputs = [units(size, 4, seed=seed + 2), units(num_candidates, 4, seed=seed + 3), tau]
    marks = [mark.to_sparse() if sparse else mark for mark in (right, masked)]

    def ours(anchors: Tensor, candidates: Tensor, tau: Tensor) -> Tensor:
        given = {"is_positive": marks[0], "also_positive": marks[1], "temperature": tau}
        return multi_positive_info_nce(anchors, candidates, **given)

    def slow(anchors: Tensor, candidates: Tensor, tau: Tensor) -> Tensor:
        return obvious.multi_positive(anchors, candidates, is_positive=right, masked=masked, temperature=tau)

    torch.testing.assert_close(value_and_gradients(ours, *inputs), value_and_gradients(slow, *inputs), **CLOSE)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_two_views_equal_the_simclr_article(temperature: float) -> None:
    views = units(2, 6, 16, seed=0)

    def article(views: Tensor) -> Tensor:
        return F.cross_entropy(*info_nce_logits(views.flatten(0, 1), 2, temperature=temperature))

    ours = value_and_gradients(partial(nt_xent, temperature=temperature), views)[0]
    torch.testing.assert_close(ours, article(views), rtol=0, atol=1e-12)


def test_two_views_have_the_gradient_of_the_simclr_article() -> None:
    features = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def article(features: Tensor) -> Tensor:
        return F.cross_entropy(*info_nce_logits(features.flatten(0, 1), 2, temperature=0.1))

    def ours(features: Tensor) -> Tensor:
        return nt_xent(F.normalize(features, dim=-1), temperature=0.1)

    expected = value_and_gradients(article, features)
    torch.testing.assert_close(value_and_gradients(ours, features), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_views", [2, 3, 4])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_any_number_of_views_equals_pytorch_metric_learning(num_views: int, temperature: float) -> None:
    features = torch.randn(num_views, 5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(5).repeat(num_views)

    def theirs(features: Tensor) -> Tensor:
        return NTXentLoss(temperature=temperature)(features.flatten(0, 1), labels)

    def ours(features: Tensor) -> Tensor:
        return nt_xent(F.normalize(features, dim=-1), temperature=temperature)

    expected = value_and_gradients(theirs, features)
    torch.testing.assert_close(value_and_gradients(ours, features), expected, rtol=0, atol=1e-6)


def test_one_positive_an_anchor_is_plain_info_nce() -> None:
    anchors, candidates = units(4, 8, seed=0), units(4, 8, seed=1)
    loss = multi_positive_info_nce(anchors, candidates, is_positive=torch.eye(4, dtype=torch.bool), temperature=0.1)
    torch.testing.assert_close(loss, info_nce_of_each(anchors, candidates, temperature=0.1).mean())


def test_several_positives_reach_loss_0_where_supcon_stays_over_log_of_their_number() -> None:
    anchors, candidates = torch.eye(4), torch.eye(4).repeat(3, 1)
    right = torch.eye(4, dtype=torch.bool).repeat(1, 3)
    log_shares = (anchors @ candidates.T / 0.01).log_softmax(dim=1)
    assert -log_shares[right].mean().item() == pytest.approx(math.log(3))
    assert multi_positive_info_nce(anchors, candidates, is_positive=right, temperature=0.01).item() < 1e-6


def test_the_order_of_the_views_does_not_matter() -> None:
    views = units(3, 4, 8, seed=0)
    torch.testing.assert_close(nt_xent(views), nt_xent(views.flip(0)))
