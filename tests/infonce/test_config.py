"""Configs: refused when built if they cannot hold, and the same after a trip through JSON."""

import json
from typing import Any

import pytest

from infonce.config import HardNegatives, TrainConfig
from infonce.errors import ConfigError
from infonce.loss_config import LossConfig, Negatives


@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(),
        LossConfig(temperature=0.02, learn_temperature=True, symmetric=False, negatives=Negatives.PAIRED),
        LossConfig(matryoshka_dims=(256, 64), num_views=2, tile_size=512),
        LossConfig(queue_size=4_096, momentum=0.999),
    ],
)
def test_a_training_config_is_the_same_after_a_trip_through_json(loss: LossConfig) -> None:
    config = TrainConfig(n_epochs=3, dropout=0.1, hard_negatives=HardNegatives.ALL, loss=loss)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_key_that_the_loss_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match="temprature is not a setting; known are learn_temperature"):
        TrainConfig.from_dict({"loss": {"temprature": 0.1}})


@pytest.mark.parametrize(
    ("settings", "param", "said"),
    [
        ({"temperature": 0}, "temperature", "is 0; it must be between 0.005 and 10.0; 0.02 to 0.1 is usual"),
        ({"temperature": 0.005, "learn_temperature": True}, "temperature", "is 0.005; it must be between 0.01"),
        ({"momentum": 1.5, "queue_size": 8}, "momentum", "is 1.5; it must be between 0.0 and 0.99999"),
        ({"momentum": 0.9}, "momentum", "is 0.9 and cannot be used with queue_size 0"),
        ({"queue_size": 8, "negatives": Negatives.PAIRED}, "queue_size", "is 8 and cannot be used with negatives"),
        ({"queue_size": 1.5}, "queue_size", "is 1.5; it must be a whole number"),
        ({"num_views": 1}, "num_views", "is 1; it must be between 2 and 16"),
        ({"num_views": 2, "symmetric": False}, "num_views", "is 2 and cannot be used with symmetric false"),
        ({"num_views": 2, "queue_size": 8}, "num_views", "a queue; views have none"),
        ({"matryoshka_dims": ()}, "matryoshka_dims", r"is \[\]; it must list different lengths"),
        ({"matryoshka_dims": (64, 64)}, "matryoshka_dims", r"is \[64, 64\]; it must list different lengths"),
        ({"matryoshka_dims": (64, 0)}, "matryoshka_dims", "is 0; it must be between 1 and"),
    ],
)
def test_a_loss_that_cannot_be_is_refused_when_built(settings: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{param} .*{said}") as caught:
        LossConfig(**settings)
    assert caught.value.param == param


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
        TrainConfig(loss=loss).resolve(100)
    assert caught.value.param == "dropout"
    assert TrainConfig(loss=loss, dropout=0.1).resolve(100).loss == loss


def test_two_views_are_two_texts_and_need_no_dropout() -> None:
    assert TrainConfig(loss=LossConfig(num_views=2)).resolve(100).dropout == 0.0
