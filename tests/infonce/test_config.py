"""Configs: refused when built if they cannot hold, and the same after a trip through JSON."""

import json
from typing import Any

import pytest

from infonce.config import HardNegatives, TrainConfig
from infonce.errors import ConfigError
from infonce.lora_config import LoraConfig
from infonce.loss_config import LossConfig, Negatives


@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(),
        LossConfig(temperature=0.02, learn_temperature=True, symmetric=False, negatives=Negatives.PAIRED),
        LossConfig(matryoshka_dims=(256, 64), matryoshka_weights=(0.5, 2.0), num_views=2),
        LossConfig(queue_size=4_096, momentum=0.999),
    ],
)
def test_a_training_config_is_the_same_after_a_trip_through_json(loss: LossConfig) -> None:
    config = TrainConfig(n_epochs=3, dropout=0.1, hard_negatives=HardNegatives.ALL, loss=loss)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_key_that_the_loss_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match="temprature is not a setting; known are learn_temperature"):
        TrainConfig.from_dict({"loss": {"temprature": 0.1}})


def test_a_training_in_int8_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'int8', which has no gradient; train in auto") as caught:
        TrainConfig.from_dict({"precision": "int8"})
    assert caught.value.param == "precision"


@pytest.mark.parametrize("loss", [None, LossConfig(), [], "shared"], ids=str)
def test_a_loss_that_is_no_object_of_settings_is_refused(loss: Any) -> None:
    with pytest.raises(ConfigError, match=r"^loss is .* it must be an object of settings") as caught:
        TrainConfig.from_dict({"loss": loss})
    assert caught.value.param == "loss"


@pytest.mark.parametrize("negatives", [Negatives.PAIRED, Negatives.UNPAIRED])
@pytest.mark.parametrize(("param", "value"), [("hard_negatives", HardNegatives.NONE), ("max_negatives", 0)])
def test_a_loss_of_hard_negatives_alone_needs_them(negatives: Negatives, param: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{param} is .* negatives is '{negatives}', .* to 'shared'") as caught:
        TrainConfig.from_dict({"loss": {"negatives": negatives}, param: value})
    assert caught.value.param == param


def test_further_views_need_dropout() -> None:
    loss = LossConfig(num_views=3)
    with pytest.raises(ConfigError, match=r"dropout is 0\.0.* num_views is 3.* set dropout to 0\.1"):
        TrainConfig(loss=loss, dropout=0.0)
    with pytest.raises(ConfigError, match=r"dropout is 0\.0") as caught:
        TrainConfig(loss=loss).resolve(100, width=384)
    assert caught.value.param == "dropout"
    assert TrainConfig(loss=loss, dropout=0.1).resolve(100, width=384).loss == loss


def test_two_views_are_two_texts_and_need_no_dropout() -> None:
    assert TrainConfig(loss=LossConfig(num_views=2)).resolve(100, width=384).dropout == 0.0


@pytest.mark.parametrize(
    ("loss", "batch_size", "words"),
    [
        ({"num_views": 2}, 8_192, r"num_views is 2, .* 16386 views; at most 16384 .* lower batch_size to 8192"),
        ({"num_views": 16}, 1_024, r"num_views is 16, .* 16400 views; at most 16384 .* lower batch_size to 1024"),
        ({"negatives": "unpaired"}, 8_192, "max_negatives is 4 .* at most 268435456 .* lower batch_size to 8192 or"),
    ],
    ids=str,
)
def test_a_matrix_beyond_reason_is_refused_at_the_door(loss: dict[str, Any], batch_size: int, words: str) -> None:
    settings = {"loss": loss, "max_negatives": 4, "dropout": 0.1}
    assert TrainConfig.from_dict({**settings, "batch_size": batch_size}).batch_size == batch_size
    with pytest.raises(ConfigError, match=f"^batch_size is {batch_size + 1}.* {words}") as caught:
        TrainConfig.from_dict({**settings, "batch_size": batch_size + 1})
    assert caught.value.param == "batch_size"


@pytest.mark.parametrize("loss", [LossConfig(num_views=16), LossConfig(negatives=Negatives.UNPAIRED)])
def test_an_automatic_batch_is_never_too_large_for_its_loss(loss: LossConfig) -> None:
    assert TrainConfig(loss=loss, max_negatives=1_000, dropout=0.1).resolve(1_000_000, width=384).batch_size == 64


@pytest.mark.parametrize(
    ("num_pairs", "n_epochs", "batch_size"),
    [(20, 3, 20), (1_999, 3, 32), (3_999, 2, 32), (4_000, 2, 64), (20_000, 1, 64)],
)
def test_small_sets_get_more_passes_and_smaller_batches(num_pairs: int, n_epochs: int, batch_size: int) -> None:
    found = TrainConfig().resolve(num_pairs, width=384)
    assert (found.n_epochs, found.batch_size) == (n_epochs, batch_size)


@pytest.mark.parametrize(("width", "rate"), [(128, 1e-4), (384, 1e-4), (768, 5e-5), (1_024, 3.75e-5), (None, 5e-5)])
def test_wide_models_get_a_lower_rate_and_adapters_a_higher_one(width: int | None, rate: float) -> None:
    assert TrainConfig().resolve(100, width=width).learning_rate == pytest.approx(rate)
    assert TrainConfig(lora=LoraConfig()).resolve(100, width=width).learning_rate == pytest.approx(10 * rate)
