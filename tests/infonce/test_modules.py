"""`InfoNCE` replaces info-nce-pytorch's, and `SymmetricInfoNCE` learns its temperature."""

from collections.abc import Callable
from functools import partial
from typing import Any

import info_nce
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from infonce import InfoNCE, SymmetricInfoNCE, losses
from infonce.errors import ConfigError, LossInputError
from infonce.temperature import LearnedTemperature
from tests.infonce.obvious import mask, value_and_gradients

REDUCTIONS = ["none", "sum", "mean"]
FORMS = {
    "in batch": ("unpaired", [(32, 128), (32, 128)]),
    "unpaired": ("unpaired", [(32, 128), (32, 128), (48, 128)]),
    "paired": ("paired", [(32, 128), (32, 128), (32, 6, 128)]),
}
"""The three examples of info-nce-pytorch's README: mode -> shapes of query, positive key and negative keys."""


def randn(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.1, 1.0, 5])
def test_equals_info_nce_pytorch_in_value_and_gradient(form: str, reduction: str, temperature: float) -> None:
    mode, shapes = FORMS[form]
    inputs = [part.double() for part in randn(*shapes)]
    ours, theirs = (kind(temperature, reduction, mode) for kind in (InfoNCE, info_nce.InfoNCE))
    expected = value_and_gradients(theirs, *inputs)
    torch.testing.assert_close(value_and_gradients(ours, *inputs), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_equals_info_nce_pytorch_in_float32_to_a_millionth(form: str, reduction: str) -> None:
    mode, shapes = FORMS[form]
    ours, theirs = (kind(reduction=reduction, negative_mode=mode) for kind in (InfoNCE, info_nce.InfoNCE))
    expected = value_and_gradients(theirs, *randn(*shapes))
    torch.testing.assert_close(value_and_gradients(ours, *randn(*shapes)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_defaults_and_keyword_names_are_those_of_info_nce_pytorch(form: str) -> None:
    mode, shapes = FORMS[form]
    inputs = dict(zip(("query", "positive_key", "negative_keys"), randn(*shapes), strict=False))
    theirs = info_nce.InfoNCE(negative_mode=mode)
    torch.testing.assert_close(InfoNCE(negative_mode=mode)(**inputs), theirs(**inputs))
    if mode == "unpaired":
        torch.testing.assert_close(InfoNCE()(**inputs), info_nce.InfoNCE()(**inputs))


def test_attributes_may_be_set_between_calls() -> None:
    query, key = randn((4, 8), (4, 8))
    loss = InfoNCE()
    loss.temperature, loss.reduction = 0.5, "sum"
    torch.testing.assert_close(loss(query, key), info_nce.InfoNCE(0.5, "sum")(query, key))


def test_a_temperature_may_be_a_parameter_of_the_caller() -> None:
    query, key = randn((4, 8), (4, 8))
    tau = torch.nn.Parameter(torch.tensor(0.1))
    loss = InfoNCE(tau)
    assert list(loss.parameters()) == [tau]
    expected = value_and_gradients(partial(info_nce.info_nce, query, key, None), tau)
    torch.testing.assert_close(torch.autograd.grad(loss(query, key), tau)[0], expected[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    query, key = (part.to(dtype) for part in randn((16, 64), (16, 64)))
    loss = InfoNCE(0.01)(query, key)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, InfoNCE(0.01)(query.float(), key.float()), rtol=0, atol=0)


def test_a_zero_vector_in_half_precision_gives_numbers() -> None:
    query, key = (part.half() for part in randn((4, 8), (4, 8)))
    query[1] = 0
    assert torch.isnan(info_nce.InfoNCE()(query, key))
    assert torch.isfinite(InfoNCE()(query, key))


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_leaves_the_known_positives_out(form: str) -> None:
    mode, shapes = FORMS[form]
    query, key, *negatives = randn(*shapes)
    known = mask(32, 32 + (negatives[0].shape[-2] if negatives else 0), seed=3)
    loss = InfoNCE(reduction="none", negative_mode=mode)(query, key, *negatives, also_positive=known)
    units = [F.normalize(part, dim=-1) for part in (query, key, *negatives)]
    given = {"negatives": units[2] if negatives else None, "also_positive": known, "temperature": 0.1}
    torch.testing.assert_close(loss, losses.info_nce_of_each(units[0], units[1], mode=mode, **given))


def test_shared_negatives_stand_beside_the_keys_of_the_batch() -> None:
    query, key, negatives = randn((4, 8), (4, 8), (3, 8))
    labels = torch.arange(4)
    units = [F.normalize(part, dim=-1) for part in (query, torch.cat([key, negatives]))]
    expected = F.cross_entropy(units[0] @ units[1].T / 0.1, labels)
    torch.testing.assert_close(InfoNCE(negative_mode="shared")(query, key, negatives), expected)


@pytest.mark.parametrize("settings", [{"reduction": "avg"}, {"negative_mode": "hard"}])
def test_an_unknown_form_is_refused_when_it_is_set(settings: dict[str, str]) -> None:
    name, value = next(iter(settings.items()))
    with pytest.raises(ConfigError, match=f"{name} is '{value}'; it must be one of"):
        InfoNCE(**settings)
    loss = InfoNCE()
    setattr(loss, name, value)
    with pytest.raises(ConfigError, match=f"{name} is '{value}'; it must be one of"):
        loss(*randn((4, 8), (4, 8)))


@pytest.mark.parametrize("temperature", [None, 0.0, "0.1", torch.full((4,), 0.1)])
def test_a_temperature_that_is_none_is_refused_when_it_is_set(temperature: Any) -> None:
    with pytest.raises(LossInputError, match="temperature is"):
        InfoNCE(temperature)
    loss = InfoNCE()
    loss.temperature = temperature
    with pytest.raises(LossInputError, match="temperature is"):
        loss(*randn((4, 8), (4, 8)))


@pytest.mark.parametrize("kind", [InfoNCE, SymmetricInfoNCE])
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (randn((4, 8), (3, 8)), ["(4, 8)", "(3, 8)"]),
        (randn((4, 8), (4, 7)), ["(4, 8)", "(4, 7)"]),
        (randn((4,), (4,)), ["(4,)", "(B, D)"]),
        ([part.long() for part in randn((4, 8), (4, 8))], ["torch.int64", "(4, 8)"]),
        (randn((0, 8), (0, 8)), ["(0, 8)", "empty"]),
    ],
)
def test_wrong_input_is_refused_with_its_shapes(kind: type, inputs: list[Tensor], words: list[str]) -> None:
    with pytest.raises(LossInputError) as caught:
        kind()(*inputs)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("kind", [InfoNCE, SymmetricInfoNCE])
def test_autocast_changes_nothing(kind: Callable[..., torch.nn.Module]) -> None:
    loss, inputs = kind(0.01), randn((16, 64), (16, 64))

    def inside(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(*inputs)

    expected = value_and_gradients(loss, *inputs)
    torch.testing.assert_close(value_and_gradients(inside, *inputs), expected, rtol=0, atol=0)


def test_the_symmetric_module_is_the_function_on_unit_vectors() -> None:
    anchors, positives, negatives = randn((5, 8), (5, 8), (3, 8))
    known = mask(5, 8, seed=3)
    module = SymmetricInfoNCE(0.2, matryoshka_dims=[4], matryoshka_weights=[3])
    loss = module(anchors, positives, negatives=negatives, also_positive=known)
    units = [F.normalize(part, dim=-1) for part in (anchors, positives, negatives)]
    config = losses.LossConfig(temperature=0.2, matryoshka_dims=(4,), matryoshka_weights=(3,))
    expected = losses.info_nce(*units[:2], negatives=units[2], also_positive=known, config=config)
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)


def test_a_fixed_temperature_is_no_parameter() -> None:
    loss = SymmetricInfoNCE(0.07)
    loss.clamp()
    assert loss.temperature == 0.07
    assert list(loss.parameters()) == []


def test_a_learnt_temperature_starts_where_it_was_set_and_has_the_gradient_of_its_logarithm() -> None:
    anchors, positives = randn((5, 8), (5, 8))
    loss = SymmetricInfoNCE(0.07, learn_temperature=True)
    assert loss.temperature == pytest.approx(0.07)
    loss(anchors, positives).backward()
    units = [F.normalize(part, dim=-1) for part in (anchors, positives)]
    by_tau = value_and_gradients(lambda tau: losses.info_nce(*units, temperature=tau), torch.tensor(0.07))[1]
    assert loss.learned is not None and loss.learned.logit_scale.grad is not None
    torch.testing.assert_close(loss.learned.logit_scale.grad, -0.07 * by_tau)  # τ = exp(-logit_scale)


@pytest.mark.parametrize("temperature", [0.0, 0.009, 10.1, -1.0, float("nan"), float("inf"), None, "0.1", True])
def test_a_learnt_temperature_does_not_start_outside_its_limits(temperature: Any) -> None:
    with pytest.raises(ConfigError, match=r"temperature is .*; it must be between 0\.01 and 10\.0") as caught:
        LearnedTemperature(temperature)
    assert caught.value.param == "temperature"


def test_a_learnt_temperature_follows_its_optimizer_and_stays_above_a_hundredth() -> None:
    vectors = torch.eye(6) + 1  # unlike things have a cosine of 0.89: a low temperature is needed to tell them apart
    loss = SymmetricInfoNCE(0.05, learn_temperature=True)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=0.2, weight_decay=0.0)
    seen = []
    for _ in range(20):
        optimizer.zero_grad()
        loss(vectors, vectors).backward()
        optimizer.step()
        loss.clamp()
        seen.append(loss.temperature)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == pytest.approx(0.01)


def test_a_learnt_temperature_is_saved_and_restored() -> None:
    kept, fresh = SymmetricInfoNCE(0.03, learn_temperature=True), SymmetricInfoNCE(0.05, learn_temperature=True)
    fresh.load_state_dict(kept.state_dict())
    assert fresh.temperature == kept.temperature


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"negatives": "hard"}, {"matryoshka_dims": 64}])
def test_the_symmetric_module_refuses_what_its_config_refuses(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is"):
        SymmetricInfoNCE(**settings)  # type: ignore[arg-type]


def test_the_modules_say_what_they_are() -> None:
    assert repr(InfoNCE()) == "InfoNCE(temperature=0.1, reduction=mean, negative_mode=unpaired)"
    learnt = SymmetricInfoNCE(learn_temperature=True)
    assert "temperature=0.05, learnt, negatives=shared" in repr(learnt)
