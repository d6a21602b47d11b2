"""Whatever is kept in memory and however the loss is computed, a run takes the same steps."""

from pathlib import Path

import pytest
import torch

from infonce.config import Attention, Precision, TrainConfig
from infonce.errors import ConfigError
from infonce.loss_config import LossConfig, Negatives
from infonce.train import train
from tests.factories import tiny_encoder, tiny_model, toy_pairs
from tests.infonce.conftest import Watcher
from tests.infonce.forms import FORMS
from tests.infonce.joint_steps import descend


@pytest.mark.parametrize("name", FORMS)
def test_encoding_twice_instead_of_keeping_graphs_changes_no_bit(name: str, tmp_path: Path) -> None:
    kept = descend(tiny_model(tmp_path / "a"), FORMS[name], max_graph_gb=1.0)
    again = descend(tiny_model(tmp_path / "b"), FORMS[name], max_graph_gb=0.0)
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


def test_forms_differ_so_that_none_of_these_tests_compares_one_form_with_itself(tmp_path: Path) -> None:
    firsts = {name: descend(tiny_model(tmp_path / name), loss)[0].tolist() for name, loss in FORMS.items()}
    same = {"tiled", "symmetric"}
    distinct = {tuple(round(loss, 4) for loss in losses) for name, losses in firsts.items() if name not in same}
    assert len(distinct) == len(FORMS) - len(same)
    assert firsts["tiled"] == pytest.approx(firsts["symmetric"], abs=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_trains(name: str, tmp_path: Path, watcher: Watcher) -> None:
    loss = FORMS[name]
    negatives = 0 if loss.num_views else 2
    config = TrainConfig(n_epochs=4, batch_size=8, learning_rate=1e-3, loss=loss, precision=Precision.FLOAT32)
    result = train(tiny_encoder(tmp_path / "m"), toy_pairs(32, negatives=negatives), config=config, progress=watcher)
    losses = [record.loss for record in result.curve]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert (result.curve[-1].temperature != 0.05) == loss.learn_temperature


def test_twenty_steps_give_the_same_losses_tiled_and_dense(tmp_path: Path) -> None:
    curves = []
    for tile_size in (0, 5):
        watcher = Watcher()
        config = TrainConfig(
            n_epochs=5,
            batch_size=16,
            learning_rate=1e-3,
            precision=Precision.FLOAT32,
            attention=Attention.FUSED,
            loss=LossConfig(tile_size=tile_size),
        )
        pairs = toy_pairs(64, negatives=2)
        train(tiny_encoder(tmp_path / str(tile_size)), pairs, config=config, progress=watcher)
        curves.append([record.loss for record in watcher.steps])
    assert len(curves[0]) == 20
    assert curves[1] == pytest.approx(curves[0], abs=1e-5)


def test_a_second_and_third_view_of_a_text_differ_by_their_dropout(tmp_path: Path, watcher: Watcher) -> None:
    config = TrainConfig(n_epochs=1, batch_size=8, loss=LossConfig(num_views=4), dropout=0.2)
    train(tiny_encoder(tmp_path / "m"), toy_pairs(16), config=config, progress=watcher)
    assert all(record.loss > 0.01 and record.grad_norm > 0 for record in watcher.steps)


@pytest.mark.parametrize("mode", [Negatives.PAIRED, Negatives.UNPAIRED])
def test_pairs_without_negatives_are_refused_where_they_are_all_candidates(
    mode: Negatives, tmp_path: Path, watcher: Watcher
) -> None:
    config = TrainConfig(n_epochs=1, batch_size=8, loss=LossConfig(negatives=mode))
    with pytest.raises(ConfigError, match="the pairs bring none"):
        train(tiny_encoder(tmp_path / "m"), toy_pairs(16), config=config, progress=watcher)


def test_what_views_cannot_use_and_lengths_beyond_the_model_are_refused(tmp_path: Path, watcher: Watcher) -> None:
    encoder = tiny_encoder(tmp_path / "m")
    with pytest.raises(ConfigError, match="hard negatives"):
        config = TrainConfig(n_epochs=1, batch_size=8, loss=LossConfig(num_views=2))
        train(encoder, toy_pairs(16, negatives=1), config=config, progress=watcher)
    with pytest.raises(ConfigError, match="the model has 32"):
        config = TrainConfig(n_epochs=1, batch_size=8, loss=LossConfig(matryoshka_dims=(64,)))
        train(encoder, toy_pairs(16), config=config, progress=watcher)
