"""Every InfoNCE over a batch equals a double loop in float64, in value and gradient, temperature included."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from infonce.loss_config import LossConfig, Negatives
from infonce.losses import info_nce, info_nce_of_each
from tests.infonce import obvious
from tests.infonce.obvious import units, value_and_gradients

EXAMPLES = settings(deadline=None, derandomize=True, max_examples=300)
CLOSE = {"rtol": 1e-8, "atol": 1e-9}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One batch and the form of its loss."""

    inputs: list[Tensor]
    """Anchors, positives, temperature, and negatives if there are any."""
    config: LossConfig
    masked: Tensor
    given: Tensor | None
    """The mask as the loss gets it: none, dense or sparse."""

    def ours(self, *inputs: Tensor) -> Tensor:
        anchors, positives, tau, *hard = inputs
        given = {"negatives": hard[0] if hard else None, "also_positive": self.given, "temperature": tau}
        return info_nce(anchors, positives, config=self.config, **given)

    def our_each(self, *inputs: Tensor) -> Tensor:
        anchors, positives, tau, *hard = inputs
        given = {"negatives": hard[0] if hard else None, "also_positive": self.given, "temperature": tau}
        return info_nce_of_each(anchors, positives, mode=self.config.negatives, **given)

    def slow(self, *inputs: Tensor) -> Tensor:
        anchors, positives, tau, *hard = inputs
        means = []
        cuts = [obvious.prefixes(part, self.config.matryoshka_dims) for part in (anchors, positives, *hard)]
        for queries, documents, *others in zip(*cuts, strict=True):
            there = self.slow_each(queries, documents, tau, *others).mean()
            back = obvious.each_back(queries, documents, masked=self.masked, temperature=tau).mean()
            means.append((there + back) / 2 if self.config.symmetric else there)
        dims, weights = self.config.matryoshka_dims, self.config.matryoshka_weights
        return obvious.weighted_mean(means, dims=dims, weights=weights, whole=anchors.shape[1])

    def slow_each(self, *inputs: Tensor) -> Tensor:
        anchors, positives, tau, *hard = inputs
        given = {"negatives": hard[0] if hard else None, "masked": self.masked, "temperature": tau}
        return obvious.each(anchors, positives, mode=self.config.negatives, **given)


@st.composite
def configs(draw: st.DrawFn, dimensions: int) -> LossConfig:
    dims = draw(st.none() | st.sets(st.integers(1, dimensions), min_size=1, max_size=2).map(tuple))
    num_dims = len(dims or ())
    weights = st.lists(st.floats(0.1, 5.0), min_size=num_dims, max_size=num_dims).map(tuple)
    symmetric, negatives = draw(st.booleans()), draw(st.sampled_from(Negatives))
    has_matrix = symmetric or negatives is Negatives.SHARED
    return LossConfig(
        symmetric=symmetric,
        negatives=negatives,
        matryoshka_dims=dims,
        matryoshka_weights=draw(st.none() | weights) if dims else None,
        tile_size=draw(st.sampled_from(["auto", 0, 2, 3])) if has_matrix else "auto",
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size, dimensions, seed = draw(st.integers(1, 5)), draw(st.integers(2, 6)), draw(st.integers(0, 10_000))
    config = draw(configs(dimensions))
    inputs = [units(size, dimensions, seed=seed), units(size, dimensions, seed=seed + 1)]
    inputs.append(torch.tensor(draw(st.floats(0.02, 2.0)), dtype=torch.float64))
    num_negatives = draw(st.none() | st.integers(0, 4))
    if num_negatives is not None:
        own = [size] if config.negatives is Negatives.PAIRED else []
        inputs.append(units(*own, num_negatives, dimensions, seed=seed + 2))
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    masked = obvious.mask(size, size + (num_negatives or 0), seed=seed, share=share)
    kinds = [masked, masked.to_sparse()] if share else [masked, masked.to_sparse(), None]
    return Case(inputs=inputs, config=config, masked=masked, given=draw(st.sampled_from(kinds)))


@EXAMPLES
@given(cases())
def test_info_nce_equals_a_double_loop(case: Case) -> None:
    found, expected = (value_and_gradients(loss, *case.inputs) for loss in (case.ours, case.slow))
    torch.testing.assert_close(found, expected, **CLOSE)


@EXAMPLES
@given(cases())
def test_the_loss_of_each_anchor_equals_a_double_loop(case: Case) -> None:
    found, expected = (value_and_gradients(loss, *case.inputs) for loss in (case.our_each, case.slow_each))
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("mode", Negatives)
@pytest.mark.parametrize("temperature", [0.02, 0.05, 0.5])
def test_float32_is_close_to_the_double_loop_in_float64(mode: Negatives, temperature: float) -> None:
    masked, own = obvious.mask(6, 9, seed=5), [6] if mode is Negatives.PAIRED else []
    inputs = [units(6, 16, seed=7), units(6, 16, seed=8), torch.tensor(temperature), units(*own, 3, 16, seed=9)]
    case = Case(inputs=inputs, config=LossConfig(negatives=mode), masked=masked, given=masked)
    found = value_and_gradients(case.ours, *(part.float() for part in inputs))
    expected = [part.float() for part in value_and_gradients(case.slow, *(part.double() for part in inputs))]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_a_temperature_of_the_config_equals_one_that_is_given() -> None:
    anchors, positives = units(4, 8, seed=0), units(4, 8, seed=1)
    by_config = info_nce(anchors, positives, config=LossConfig(temperature=0.2))
    torch.testing.assert_close(by_config, info_nce(anchors, positives, temperature=0.2), rtol=0, atol=0)


def test_a_weight_scales_the_gradient_of_its_prefix() -> None:
    inputs = [units(4, 6, seed=0), units(4, 6, seed=1)]

    def alone(anchors: Tensor, positives: Tensor, *, dim: int) -> Tensor:
        cut = [F.normalize(part[:, :dim], dim=1) for part in (anchors, positives)]
        masked, tau = torch.zeros(4, 4, dtype=torch.bool), torch.tensor(0.05, dtype=torch.float64)
        there = obvious.each(*cut, negatives=None, masked=masked, temperature=tau, mode="shared")
        return (there.mean() + obvious.each_back(*cut, masked=masked, temperature=tau).mean()) / 2

    def ours(anchors: Tensor, positives: Tensor) -> Tensor:
        config = LossConfig(matryoshka_dims=(2, 3), matryoshka_weights=(0.5, 2.0))
        return info_nce(F.normalize(anchors, dim=1), F.normalize(positives, dim=1), config=config)

    found = value_and_gradients(ours, *inputs)
    singles = [value_and_gradients(partial(alone, dim=dim), *inputs) for dim in (6, 2, 3)]
    expected = [(whole + 0.5 * two + 2.0 * three) / 3.5 for whole, two, three in zip(*singles, strict=True)]
    torch.testing.assert_close(found, expected, **CLOSE)


def test_a_listed_whole_takes_its_own_weight_and_is_counted_once() -> None:
    anchors, positives = units(4, 6, seed=0), units(4, 6, seed=1)
    alone = [info_nce(F.normalize(anchors[:, :dim]), F.normalize(positives[:, :dim])) for dim in (3, 6)]
    config = LossConfig(matryoshka_dims=(3, 6), matryoshka_weights=(1.0, 4.0))
    torch.testing.assert_close(info_nce(anchors, positives, config=config), (alone[0] + 4 * alone[1]) / 5)


def test_without_negatives_every_mode_takes_the_positives_of_the_batch() -> None:
    anchors, positives = units(4, 8, seed=0), units(4, 8, seed=1)
    losses = [info_nce(anchors, positives, config=LossConfig(negatives=mode)) for mode in Negatives]
    assert losses[0] == losses[1] == losses[2]


def test_the_order_of_the_pairs_does_not_matter() -> None:
    anchors, positives, order = units(5, 8, seed=0), units(5, 8, seed=1), torch.tensor([3, 1, 4, 0, 2])
    masked = obvious.mask(5, 5, seed=2)
    straight = info_nce(anchors, positives, also_positive=masked)
    shuffled = info_nce(anchors[order], positives[order], also_positive=masked[order][:, order])
    torch.testing.assert_close(straight, shuffled)


def test_vectors_of_two_types_are_compared_in_the_wider_one() -> None:
    anchors, positives = units(4, 8, seed=0), units(4, 8, seed=1).float()
    loss = info_nce(anchors, positives)
    assert loss.dtype is torch.float64
    torch.testing.assert_close(loss, info_nce(anchors, positives.double()), rtol=0, atol=0)
