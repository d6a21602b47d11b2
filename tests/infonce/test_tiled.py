"""The loss in tiles is that of the whole matrix, in value and gradients, and needs no memory of the matrix's size."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from infonce.bench.loss_memory import dense_bytes, measure
from infonce.errors import ConfigError, LossInputError
from infonce.loss_config import LossConfig
from infonce.losses import info_nce, multi_positive_info_nce
from infonce.tiled import DEFAULT_SIDE, tile_side

DENSE = 0


def vectors(count: int, seed: int, *, dimensions: int = 4, norm: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return norm * F.normalize(torch.randn(count, dimensions, generator=generator, dtype=torch.float64), dim=-1)


def some(rows: int, columns: int, *, seed: int = 3, share: float = 0.4) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < share


def value_and_gradients(
    parts: tuple[Tensor, ...], temperature: float, *, mask: Tensor | None, tile_size: int, symmetric: bool = True
) -> list[Tensor]:
    """The loss, then its gradients by anchors, positives, negatives where there are any, and the temperature."""
    anchors, positives, *negatives = leaves = [part.clone().requires_grad_() for part in parts]
    tau = torch.tensor(temperature, dtype=anchors.dtype, requires_grad=True)
    loss = info_nce(
        anchors,
        positives,
        negatives=negatives[0] if negatives else None,
        also_positive=mask,
        temperature=tau,
        config=LossConfig(symmetric=symmetric, tile_size=tile_size),
    )
    return [loss.detach(), *torch.autograd.grad(3 * loss, [*leaves, tau])]


@given(
    sizes=st.tuples(st.integers(1, 11), st.integers(0, 9), st.integers(1, 5)),
    side=st.integers(1, 13),
    symmetric=st.booleans(),
    masking=st.sampled_from(["none", "dense", "sparse"]),
    temperature=st.sampled_from([0.05, 0.3]),
    norm=st.sampled_from([1.0, 60.0]),  # at 60 the logits lie too far apart for one reference
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_tiles_equal_the_matrix_in_value_and_every_gradient(
    sizes: tuple[int, int, int],
    side: int,
    symmetric: bool,
    masking: str,
    temperature: float,
    norm: float,
    seed: int,
) -> None:
    size, num_negatives, dimensions = sizes
    parts = tuple(
        vectors(count, seed + i, dimensions=dimensions, norm=norm)
        for i, count in enumerate((size, size, num_negatives))
    )
    marked = some(size, size + num_negatives, seed=seed)
    mask = {"none": None, "dense": marked, "sparse": marked.to_sparse()}[masking]
    tiled, dense = (
        value_and_gradients(parts, temperature, mask=mask, tile_size=tile_size, symmetric=symmetric)
        for tile_size in (side, DENSE)
    )
    for ours, expected in zip(tiled, dense, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", [1.0, 50.0])
@pytest.mark.parametrize("temperature", [0.005, 0.01])
def test_nothing_overflows_in_float32_at_the_lowest_temperatures(temperature: float, norm: float) -> None:
    parts = tuple(vectors(20, seed, norm=norm) for seed in range(3))
    narrow = tuple(part.float() for part in parts)
    tiled = value_and_gradients(narrow, temperature, mask=some(20, 40), tile_size=7)
    exact = value_and_gradients(parts, temperature, mask=some(20, 40), tile_size=DENSE)
    for ours, expected in zip(tiled, exact, strict=True):
        largest = expected.abs().max().item()
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize("temperature", [0.005, 0.05])
def test_a_row_whose_every_other_candidate_is_masked_costs_nothing(temperature: float) -> None:
    mask = torch.ones(5, 5, dtype=torch.bool)
    loss, *gradients = value_and_gradients((vectors(5, 0), vectors(5, 1)), temperature, mask=mask, tile_size=2)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert all(gradient.abs().max() < 1e-10 for gradient in gradients)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_mask_over_labels_changes_nothing(sparse: bool) -> None:
    parts = vectors(6, 0), vectors(6, 1)
    labels = torch.eye(6, dtype=torch.bool)
    mask = labels.to_sparse() if sparse else labels
    plain = value_and_gradients(parts, 0.1, mask=None, tile_size=4)
    for ours, expected in zip(value_and_gradients(parts, 0.1, mask=mask, tile_size=4), plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_a_sparse_mask_may_repeat_coordinates_and_hold_false() -> None:
    coordinates = torch.tensor([[0, 0, 4, 2], [3, 3, 1, 0]])
    values = torch.tensor([True, True, True, False])
    mask = torch.sparse_coo_tensor(coordinates, values, (5, 5), check_invariants=True)
    parts = vectors(5, 0), vectors(5, 1)
    tiled, dense = (value_and_gradients(parts, 0.1, mask=mask, tile_size=size) for size in (2, DENSE))
    torch.testing.assert_close(tiled, dense)


def test_several_positives_of_an_anchor_equal_the_loss_that_is_made_for_them() -> None:
    of_anchor = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])  # three positives each, a row for each pair
    same = of_anchor[:, None] == of_anchor[None]
    anchors, positives = vectors(3, 0), vectors(9, 1)
    config = LossConfig(symmetric=False, tile_size=4)
    repeated = info_nce(anchors[of_anchor], positives, also_positive=same, config=config)
    is_positive = torch.arange(3)[:, None] == of_anchor[None]
    at_once = multi_positive_info_nce(anchors, positives, is_positive=is_positive)
    torch.testing.assert_close(repeated, at_once, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wanted", ["anchors", "positives", "temperature"])
def test_the_gradient_is_right_where_only_one_thing_asks_for_it(wanted: str) -> None:
    gradients = []
    for tile_size in (3, DENSE):
        given = {
            "anchors": vectors(7, 0),
            "positives": vectors(7, 1),
            "temperature": torch.tensor([0.2], dtype=torch.float64),
        }
        given[wanted].requires_grad_()
        info_nce(**given, config=LossConfig(tile_size=tile_size)).backward()
        gradients.append(given[wanted].grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.005, 0.05])
def test_a_loss_near_zero_keeps_its_digits_in_float32(temperature: float) -> None:
    apart = torch.eye(9)
    loss = info_nce(apart, apart, temperature=temperature, config=LossConfig(tile_size=4))
    assert loss.item() == pytest.approx(math.log1p(8 * math.exp(-1 / temperature)), abs=2e-7)


def test_a_mask_that_is_changed_before_the_backward_pass_is_refused() -> None:
    vectors = F.normalize(torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0)), dim=-1).requires_grad_()
    mask = torch.zeros(8, 8, dtype=torch.bool)
    loss = info_nce(*vectors, also_positive=mask, config=LossConfig(tile_size=3))
    mask.fill_(True)
    with pytest.raises(LossInputError, match="changed between the loss and its backward"):
        loss.backward()


def test_outer_autocast_changes_neither_type_nor_value_nor_gradient() -> None:
    parts = tuple(vectors(32, seed, dimensions=64).float() for seed in range(3))
    outside = value_and_gradients(parts, 0.02, mask=None, tile_size=10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value_and_gradients(parts, 0.02, mask=None, tile_size=10)
    assert all(tensor.dtype is torch.float32 for tensor in inside)
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


def test_evaluation_without_gradients_gives_the_same_value() -> None:
    anchors, positives = vectors(8, 0).requires_grad_(), vectors(8, 1)
    with_graph = info_nce(anchors, positives, config=LossConfig(tile_size=3))
    with torch.no_grad():
        without = info_nce(anchors, positives, config=LossConfig(tile_size=3))
    assert not without.requires_grad
    assert without.item() == with_graph.item()


def test_a_second_derivative_is_refused() -> None:
    anchors = vectors(6, 0).requires_grad_()
    loss = info_nce(anchors, vectors(6, 1), config=LossConfig(tile_size=4))
    with pytest.raises(ConfigError, match="set tile_size to 0"):
        torch.autograd.grad(loss, anchors, create_graph=True)


def test_a_vector_that_left_the_numbers_shows_in_the_loss() -> None:
    anchors = vectors(6, 0)
    anchors[2, 1] = math.nan
    assert math.isnan(info_nce(anchors, vectors(6, 1), config=LossConfig(tile_size=4)).item())


@pytest.mark.parametrize(
    ("num_anchors", "num_candidates", "tile_size", "expected"),
    [
        (64, 64, "auto", 0),
        (DEFAULT_SIDE, DEFAULT_SIDE, "auto", 0),
        (DEFAULT_SIDE, DEFAULT_SIDE + 1, "auto", DEFAULT_SIDE),
        (65_536, 65_536, "auto", DEFAULT_SIDE),
        (65_536, 65_536, 0, 0),
        (64, 64, 16, 16),
    ],
)
def test_auto_takes_tiles_where_the_matrix_is_larger_than_one(
    num_anchors: int, num_candidates: int, tile_size: int, expected: int
) -> None:
    assert tile_side(num_anchors, num_candidates, config=LossConfig(tile_size=tile_size)) == expected


def test_memory_grows_with_the_vectors_and_not_with_the_matrix() -> None:
    small, large = measure([64, 8192], dimensions=8, rounds=1, memory_limit_gb=0.01)
    assert small.dense_seconds is not None
    assert large.dense_seconds is None
    assert dense_bytes(8192, 8) > 1000e6
    assert large.tiled_bytes < 60e6, large.line()
