"""A learnt temperature has a learning rate of its own and does not decay."""

from pathlib import Path

import pytest
import torch

from infonce.config import TrainConfig
from infonce.optimizer import TEMPERATURE_LEARNING_RATE, build_optimizer
from infonce.temperature import LearnedTemperature
from tests.factories import tiny_encoder


def test_every_trained_parameter_is_in_one_group_and_frozen_ones_in_none(tmp_path: Path) -> None:
    backbone = tiny_encoder(tmp_path / "m").backbone
    frozen = next(backbone.parameters()).requires_grad_(False)
    temperature = LearnedTemperature(0.05)
    groups = build_optimizer(backbone, TrainConfig(learning_rate=1e-4), temperature=temperature).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = [id(parameter) for parameter in (*backbone.parameters(), temperature.logit_scale)]
    assert sorted([*held, id(frozen)]) == sorted(wanted)


def test_offsets_norms_and_temperature_do_not_decay(tmp_path: Path) -> None:
    backbone, temperature = tiny_encoder(tmp_path / "m").backbone, LearnedTemperature(0.05)
    config = TrainConfig(learning_rate=1e-4, weight_decay=0.3)
    groups = build_optimizer(backbone, config, temperature=temperature).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    for name, parameter in (*backbone.named_parameters(), *temperature.named_parameters()):
        is_free = "bias" in name or "Norm" in name or name == "logit_scale"
        assert decay[id(parameter)] == (0.0 if is_free else 0.3), name


def test_the_peak_of_the_temperature_is_its_own(tmp_path: Path) -> None:
    temperature = LearnedTemperature(0.05)
    optimizer = build_optimizer(torch.nn.Linear(2, 2), TrainConfig(learning_rate=1e-6), temperature=temperature)
    peaks = [group["peak"] for group in optimizer.param_groups]
    assert peaks == [1e-6, 1e-6, TEMPERATURE_LEARNING_RATE]
    temperature.logit_scale.grad = torch.ones(())
    optimizer.param_groups[2]["lr"] = peaks[2]
    before = temperature.logit_scale.item()
    optimizer.step()
    assert before - temperature.logit_scale.item() == pytest.approx(TEMPERATURE_LEARNING_RATE, rel=1e-3)
