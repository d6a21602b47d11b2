"""Tensors that do not belong together are refused with their shapes and the expected ones."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from infonce.errors import LossInputError
from infonce.loss_config import LossConfig, Negatives
from infonce.losses import info_nce, info_nce_of_each, multi_positive_info_nce, nt_xent
from tests.infonce.obvious import units

ANCHORS, POSITIVES = units(4, 8, seed=0), units(4, 8, seed=1)


def zeros(*shape: int, dtype: torch.dtype = torch.bool) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def refused(loss: Callable[..., Tensor], *inputs: Any, **settings: Any) -> str:
    """What the refusal says; it is a `ValueError`."""
    with pytest.raises(LossInputError) as caught:
        loss(*inputs, **settings)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize("loss", [info_nce, info_nce_of_each])
@pytest.mark.parametrize(
    ("anchors", "positives", "words"),
    [
        (ANCHORS[0], POSITIVES, ["anchors is (8,)", "positives is (4, 8)", "(B, D)"]),
        (ANCHORS, POSITIVES[None], ["anchors is (4, 8)", "positives is (1, 4, 8)", "(B, D)"]),
        (ANCHORS, POSITIVES[:3], ["anchors is (4, 8)", "positives is (3, 8)", "(B, D)"]),
        (ANCHORS, POSITIVES[:, :7], ["anchors is (4, 8)", "positives is (4, 7)", "(B, D)"]),
        (ANCHORS[:0], POSITIVES[:0], ["anchors is (0, 8)", "positives is (0, 8)", "empty"]),
        (ANCHORS[:, :0], POSITIVES[:, :0], ["anchors is (4, 0)", "positives is (4, 0)", "at least 1"]),
        (ANCHORS.long(), POSITIVES[:3], ["anchors has dtype torch.int64; anchors is (4, 8) and positives is (3, 8)"]),
        (ANCHORS, POSITIVES > 0, ["positives has dtype torch.bool; anchors is (4, 8)", "expected floating (B, D)"]),
    ],
)
def test_pairs_that_are_none_are_refused(
    loss: Callable[..., Tensor], anchors: Tensor, positives: Tensor, words: list[str]
) -> None:
    message = refused(loss, anchors, positives)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("mode", "negatives", "words"),
    [
        ("paired", units(5, 8, seed=2), ["(5, 8)", "(4, M, 8) for paired", "anchors is (4, 8)"]),
        ("paired", units(3, 2, 8, seed=2), ["(3, 2, 8)", "(4, M, 8) for paired", "anchors is (4, 8)"]),
        ("unpaired", units(4, 2, 8, seed=2), ["(4, 2, 8)", "(M, 8) for unpaired", "anchors is (4, 8)"]),
        ("shared", units(4, 2, 8, seed=2), ["(4, 2, 8)", "(M, 8) for shared", "anchors is (4, 8)"]),
        ("shared", units(5, 7, seed=2), ["(5, 7)", "(M, 8) for shared", "anchors is (4, 8)"]),
        ("shared", zeros(5, 8), ["torch.bool", "(5, 8)", "floating (M, 8)"]),
    ],
)
def test_negatives_that_do_not_suit_their_mode_are_refused(mode: str, negatives: Tensor, words: list[str]) -> None:
    message = refused(info_nce, ANCHORS, POSITIVES, negatives=negatives, config=LossConfig(negatives=Negatives(mode)))
    assert all(word in message for word in ["negatives", *words]), message


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (zeros(4, 4), ["is (4, 4)", "(4, 6)"]),
        (zeros(6, 4), ["is (6, 4)", "(4, 6)"]),
        (zeros(24), ["is (24,)", "(4, 6)"]),
        (zeros(4, 5).to_sparse(), ["is (4, 5)", "(4, 6)"]),
        (zeros(4, 6, dtype=torch.float32), ["torch.float32", "torch.bool (4, 6)"]),
        (zeros(4, 6, dtype=torch.uint8).to_sparse(), ["torch.uint8", "torch.bool (4, 6)"]),
    ],
)
def test_a_mask_of_another_shape_or_type_is_refused(mask: Tensor, words: list[str]) -> None:
    message = refused(info_nce, ANCHORS, POSITIVES, negatives=units(2, 8, seed=2), also_positive=mask)
    assert all(word in message for word in ["also_positive", *words]), message


@pytest.mark.parametrize(
    ("temperature", "words"),
    [
        (0, ["is 0.0", "above 0"]),
        (-0.1, ["is -0.1", "above 0"]),
        (float("nan"), ["is nan", "finite"]),
        (float("inf"), ["is inf", "finite"]),
        (torch.tensor(-1.0), ["is -1.0", "above 0"]),
        (torch.full((4,), 0.1), ["(4,) of torch.float32", "shape ()"]),
        (torch.tensor(1), ["() of torch.int64", "one floating number"]),
        ("0.1", ["is '0.1'", "expected a number"]),
    ],
)
@pytest.mark.parametrize("form", ["pairs", "each", "views", "several"])
def test_a_temperature_that_is_none_is_refused(temperature: float | Tensor, words: list[str], form: str) -> None:
    calls: dict[str, Callable[..., Tensor]] = {
        "pairs": lambda **given: info_nce(ANCHORS, POSITIVES, **given),
        "each": lambda **given: info_nce_of_each(ANCHORS, POSITIVES, **given),
        "views": lambda **given: nt_xent(ANCHORS[None].repeat(2, 1, 1), **given),
        "several": lambda **given: multi_positive_info_nce(ANCHORS, POSITIVES, is_positive=~zeros(4, 4), **given),
    }
    message = refused(calls[form], temperature=temperature)
    assert all(word in message for word in ["temperature", *words]), message


def test_a_learnt_temperature_is_taken_without_a_warning() -> None:
    tau = torch.tensor([0.1], requires_grad=True)
    torch.testing.assert_close(
        info_nce(ANCHORS, POSITIVES, temperature=tau), info_nce(ANCHORS, POSITIVES, temperature=0.1)
    )


def test_prefixes_longer_than_the_vectors_are_refused() -> None:
    message = refused(info_nce, ANCHORS, POSITIVES, config=LossConfig(matryoshka_dims=(16, 4)))
    assert message == "matryoshka_dims is [16, 4] and the vectors have shape (4, 8); expected lengths of at most 8"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LossConfig(num_views=2), ["config.num_views is 2", "call nt_xent"]),
        (LossConfig(queue_size=8), ["config.queue_size is 8", "TrainConfig(loss=...)", "config.of_a_batch()"]),
        (LossConfig(queue_size=8, momentum=0.9), ["config.momentum is 0.9", "TrainConfig(loss=...)"]),
        (LossConfig(learn_temperature=True), ["config.learn_temperature is true", "tensor of a LearnedTemperature"]),
    ],
)
def test_no_setting_is_ignored_that_one_batch_of_pairs_cannot_serve(config: LossConfig, words: list[str]) -> None:
    message = refused(info_nce, ANCHORS, POSITIVES, config=config)
    assert all(word in message for word in words), message


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")  # torch calls its row and column layouts unfinished, once
@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_csc])
@pytest.mark.parametrize("form", ["pairs", "views", "several"])
def test_a_mask_in_another_layout_is_refused_by_its_name(layout: torch.layout, form: str) -> None:
    mask = zeros(*([8, 8] if form == "views" else [4, 4])).to_sparse(layout=layout)
    calls: dict[str, Callable[..., Tensor]] = {
        "pairs": lambda: info_nce(ANCHORS, POSITIVES, also_positive=mask),
        "views": lambda: nt_xent(ANCHORS[None].repeat(2, 1, 1), also_positive=mask),
        "several": lambda: multi_positive_info_nce(ANCHORS, POSITIVES, is_positive=mask),
    }
    message = refused(calls[form])
    assert f"has layout {layout}" in message and "torch.sparse_coo" in message


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (ANCHORS, ["views is (4, 8)", "(V, B, D)"]),
        (ANCHORS[None], ["views is (1, 4, 8)", "V of at least 2"]),
        (ANCHORS[None, :0].repeat(2, 1, 1), ["views is (2, 0, 8)", "B and D of at least 1"]),
        (zeros(2, 4, 8), ["views has dtype torch.bool", "(2, 4, 8)"]),
    ],
)
def test_views_that_are_none_are_refused(views: Tensor, words: list[str]) -> None:
    message = refused(nt_xent, views)
    assert all(word in message for word in words), message


def test_another_number_of_views_than_configured_is_refused() -> None:
    for config, found in ((LossConfig(num_views=2), 2), (LossConfig(temperature=0.1), None)):
        message = refused(nt_xent, ANCHORS[None].repeat(3, 1, 1), config=config)
        assert message == f"views is (3, 4, 8) and config.num_views is {found}; expected their number, 3"


def test_views_need_the_temperature_that_is_to_be_learnt() -> None:
    config = LossConfig(num_views=2, learn_temperature=True)
    assert "learn_temperature is true" in refused(nt_xent, ANCHORS[None].repeat(2, 1, 1), config=config)


def test_a_mask_over_views_has_a_row_for_each_view_of_each_thing() -> None:
    message = refused(nt_xent, ANCHORS[None].repeat(2, 1, 1), also_positive=zeros(4, 4))
    assert "also_positive is (4, 4)" in message and "(8, 8)" in message


@pytest.mark.parametrize(
    ("candidates", "is_positive", "words"),
    [
        (units(5, 8, seed=2), zeros(4, 5), r"is_positive is \(4, 5\) and row 0 marks nothing"),
        (units(5, 8, seed=2), zeros(4, 4), r"is_positive is \(4, 4\); expected \(4, 5\)"),
        (units(5, 8, seed=2), zeros(4, 5, dtype=torch.long), r"torch.int64 and shape \(4, 5\); expected torch.bool"),
        (units(5, 7, seed=2), zeros(4, 5), r"anchors is \(4, 8\) and candidates is \(5, 7\); expected"),
        (units(5, 2, 8, seed=2), zeros(4, 5), r"anchors is \(4, 8\) and candidates is \(5, 2, 8\); expected"),
        (units(0, 8, seed=2), zeros(4, 0), r"anchors is \(4, 8\) and candidates is \(0, 8\); expected .* empty"),
    ],
)
def test_candidates_and_positives_that_do_not_fit_are_refused(
    candidates: Tensor, is_positive: Tensor, words: str
) -> None:
    assert re.search(words, refused(multi_positive_info_nce, ANCHORS, candidates, is_positive=is_positive))


def test_tensors_on_two_devices_or_on_meta_are_refused() -> None:
    said = refused(info_nce, ANCHORS, POSITIVES.to("meta"))
    assert "anchors (4, 8) on cpu, positives (4, 8) on meta" in said
    assert "also_positive (4, 4) on meta" in refused(info_nce, ANCHORS, POSITIVES, also_positive=zeros(4, 4).to("meta"))
    assert "candidates" in refused(
        multi_positive_info_nce, ANCHORS, POSITIVES.to("meta"), is_positive=torch.eye(4, dtype=torch.bool)
    )
