"""`LossConfig` refuses what cannot be meant, and survives JSON."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infonce.errors import ConfigError
from infonce.loss_config import LossConfig, Negatives

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.01, 10.0),
        "learn_temperature": st.booleans(),
        "matryoshka_dims": st.none() | st.lists(st.integers(1, 4_096), min_size=1, max_size=4, unique=True).map(tuple),
    },
)
FORMS = st.sampled_from(
    [
        {},
        {"num_views": 3},
        {"symmetric": False, "negatives": Negatives.PAIRED},
        {"negatives": Negatives.PAIRED, "tile_size": 512},
        {"symmetric": False, "tile_size": 0},
        {"matryoshka_dims": (256, 64), "matryoshka_weights": (1.0, 0.25)},
        {"negatives": Negatives.UNPAIRED},
        {"queue_size": 512, "momentum": 0.99},
        {"queue_size": 512, "symmetric": False},
    ]
)


@settings(derandomize=True, max_examples=50)
@given(SETTINGS, FORMS)
def test_a_config_survives_json(values: dict[str, Any], form: dict[str, Any]) -> None:
    config = LossConfig(**values | form)
    assert LossConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": 0.0}, ["temperature is 0.0", "between 0.005 and 10.0"]),
        ({"temperature": float("nan")}, ["temperature is nan", "between"]),
        ({"temperature": "0.1"}, ["temperature is '0.1'", "between"]),
        ({"temperature": 0.005, "learn_temperature": True}, ["temperature is 0.005", "between 0.01 and"]),
        ({"learn_temperature": "no"}, ["learn_temperature is 'no'", "true or false"]),
        ({"symmetric": 1}, ["symmetric is 1", "true or false"]),
        ({"negatives": "hard"}, ["negatives is 'hard'", "shared, paired, unpaired"]),
        ({"matryoshka_dims": []}, ["matryoshka_dims is []", "[256, 128, 64]"]),
        ({"matryoshka_dims": [64, 64]}, ["matryoshka_dims is [64, 64]", "different lengths"]),
        ({"matryoshka_dims": [0]}, ["matryoshka_dims is 0", "between 1 and"]),
        ({"matryoshka_dims": [64.0]}, ["matryoshka_dims is 64.0", "whole number"]),
        ({"matryoshka_dims": 64}, ["matryoshka_dims is 64", "list"]),
        ({"matryoshka_dims": 5.0}, ["matryoshka_dims is 5.0", "list"]),
        ({"matryoshka_dims": "ab"}, ["matryoshka_dims is 'ab'", "list"]),
        ({"matryoshka_dims": {64: 1.0}}, ["matryoshka_dims is {64: 1.0}", "list"]),
        ({"matryoshka_weights": [1.0]}, ["matryoshka_weights is [1.0]", "matryoshka_dims is not given"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": []}, ["matryoshka_weights is []", "[64]"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": [1.0, 2.0]}, ["matryoshka_weights is [1.0, 2.0]", "[64]"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": [0]}, ["matryoshka_weights is 0", "between 1e-06 and"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": [-1.0]}, ["matryoshka_weights is -1.0", "between"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": [float("inf")]}, ["matryoshka_weights is inf", "between"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": ["1"]}, ["matryoshka_weights is '1'", "between"]),
        ({"matryoshka_dims": [64], "matryoshka_weights": 1.0}, ["matryoshka_weights is 1.0", "list"]),
        ({"num_views": 1}, ["num_views is 1", "between 2 and 16"]),
        ({"queue_size": -1}, ["queue_size is -1", "between 0 and 131072"]),
        ({"queue_size": 131_073}, ["queue_size is 131073", "between 0 and 131072"]),
        ({"queue_size": 1.5}, ["queue_size is 1.5", "whole number"]),
        ({"queue_size": 8, "momentum": 1.0}, ["momentum is 1.0", "between 0.0 and"]),
        ({"tile_size": "big"}, ["tile_size is 'big'", "whole number"]),
        ({"tau": 0.1}, ["tau is not a setting", "temperature"]),
    ],
    ids=str,
)
def test_a_value_outside_its_limits_is_refused_with_the_limits(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        LossConfig.from_dict(values)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.param in values


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"queue_size": 8, "negatives": "paired"}, "queue_size"),
        ({"queue_size": 8, "negatives": "unpaired"}, "queue_size"),
        ({"momentum": 0.99}, "momentum"),
        ({"num_views": 2, "symmetric": False}, "num_views"),
        ({"num_views": 2, "negatives": "paired"}, "num_views"),
        ({"num_views": 2, "queue_size": 8}, "num_views"),
        ({"num_views": 2, "tile_size": 0}, "tile_size"),
        ({"negatives": "paired", "symmetric": False, "tile_size": 64}, "tile_size"),
        ({"negatives": "unpaired", "symmetric": False, "tile_size": 0}, "tile_size"),
    ],
    ids=str,
)
def test_what_cannot_be_combined_is_refused(values: dict[str, Any], param: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used with") as caught:
        LossConfig.from_dict(values)
    assert caught.value.param == param


def test_a_batch_has_everything_of_its_config_but_what_a_run_keeps() -> None:
    config = LossConfig(temperature=0.1, symmetric=False, matryoshka_dims=(8,), queue_size=16, momentum=0.9)
    assert config.of_a_batch() == LossConfig(temperature=0.1, symmetric=False, matryoshka_dims=(8,))


@pytest.mark.parametrize("mode", Negatives)
def test_a_mode_may_be_given_by_its_name(mode: Negatives) -> None:
    assert LossConfig(negatives=mode.value).negatives is mode  # type: ignore[arg-type]
