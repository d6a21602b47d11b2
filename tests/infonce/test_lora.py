"""Adapters are trained alone, merged afterwards, and survive a stop."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infonce.checkpoint import Checkpoints
from infonce.config import Attention, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError, Stopped
from infonce.lora_config import LoraConfig
from infonce.train import train
from tests.factories import sentences, tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher

FIXED = {"precision": Precision.FLOAT32, "attention": Attention.FUSED}
CONFIG = TrainConfig(n_epochs=1, batch_size=8, lora=LoraConfig(r=4, alpha=8, dropout=0.1), **FIXED)


@pytest.mark.parametrize("family", ["bert", "modernbert", "decoder"])
def test_linear_layers_alone_change_and_by_a_matrix_of_low_rank(family: str, tmp_path: Path, watcher: Watcher) -> None:
    encoder = tiny_encoder(tmp_path / "m", family)
    before = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    result = train(encoder, toy_pairs(32), config=CONFIG, progress=watcher)
    after = encoder.backbone.state_dict()
    assert after.keys() == before.keys() and result.config.learning_rate == 1e-3
    changes = {name: after[name] - before[name] for name in before if not torch.equal(after[name], before[name])}
    assert len(changes) >= 8
    assert max(int(torch.linalg.matrix_rank(change, rtol=1e-4)) for change in changes.values()) == 4
    assert all(parameter.requires_grad for parameter in encoder.backbone.parameters())


def test_merged_model_is_saved_and_loaded_as_any_other(encoder: Encoder, watcher: Watcher, tmp_path: Path) -> None:
    train(encoder, toy_pairs(16), config=CONFIG, progress=watcher)
    encoder.save(tmp_path / "saved")
    again = Encoder.load(tmp_path / "saved")
    texts = sentences(5)
    assert again.fingerprint() == encoder.fingerprint()
    torch.testing.assert_close(torch.from_numpy(again.encode(texts)), torch.from_numpy(encoder.encode(texts)))


def test_a_run_with_adapters_that_is_stopped_ends_with_the_same_bits(tmp_path: Path) -> None:
    config, kept = replace(CONFIG, dropout=0.1), Checkpoints(folder=tmp_path / "kept")
    whole, second = tiny_encoder(tmp_path / "a"), tiny_encoder(tmp_path / "b")
    train(whole, toy_pairs(32), config=config, progress=Watcher())
    with pytest.raises(Stopped):
        train(second, toy_pairs(32), config=config, progress=Watcher(stop_after=5), checkpoints=kept)
    again, watcher = tiny_encoder(tmp_path / "c"), Watcher()
    train(again, toy_pairs(32), config=config, progress=watcher, checkpoints=kept)
    assert watcher.resumed_after == 2 and again.fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("given", [{"r": 0}, {"alpha": 1.5}, {"dropout": 2}, {"rank": 4}, 8])
def test_settings_of_adapters_outside_their_limits_are_refused_by_name(given: object) -> None:
    with pytest.raises(ConfigError, match="lora"):
        TrainConfig.from_dict({"lora": given})
