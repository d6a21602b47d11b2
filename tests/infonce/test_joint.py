"""Whatever is kept in memory and however the loss is computed, a run takes the same steps."""

from pathlib import Path

import pytest
import torch

from infonce.checkpoint import Checkpoints, newest
from infonce.config import Attention, Precision, TrainConfig
from infonce.errors import ConfigError, Stopped
from infonce.loss_config import LossConfig, Negatives
from infonce.records import StepRecord
from infonce.train import train
from tests.factories import tiny_encoder, tiny_model, toy_pairs
from tests.infonce.conftest import Watcher
from tests.infonce.forms import FORMS
from tests.infonce.joint_steps import descend, undivided


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
def test_chunks_take_the_steps_of_one_undivided_backward_pass(name: str, tmp_path: Path) -> None:
    chunked = descend(tiny_model(tmp_path / "a"), FORMS[name], max_graph_gb=0.0)
    whole = descend(tiny_model(tmp_path / "b"), FORMS[name], step=undivided)
    for found, expected in zip(chunked, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_slow_encoder_follows_every_step_of_a_training(tmp_path: Path, watcher: Watcher) -> None:
    config = TrainConfig(n_epochs=1, batch_size=8, learning_rate=1e-2, loss=FORMS["momentum"])
    kept = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    encoder = tiny_encoder(tmp_path / "m")
    slow = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    pairs = toy_pairs(24, negatives=1)

    class Following(Watcher):
        def step(self, record: StepRecord) -> None:
            super().step(record)
            for name, tensor in encoder.backbone.state_dict().items():
                if tensor.is_floating_point():
                    slow[name] = 0.9 * slow[name] + 0.1 * tensor

    train(encoder, pairs, config=config, progress=Following(), checkpoints=kept)
    saved = newest(kept)
    assert saved is not None and saved.step == 3
    for name, expected in slow.items():
        torch.testing.assert_close(saved.tensors[f"objective/slow/{name}"], expected, atol=1e-6, rtol=1e-5, msg=name)
    assert not torch.equal(
        saved.tensors["weights/embeddings.word_embeddings.weight"], slow["embeddings.word_embeddings.weight"]
    )


def test_dropout_of_a_model_without_a_layer_for_it_is_refused(tmp_path: Path, watcher: Watcher) -> None:
    config = TrainConfig(n_epochs=1, batch_size=8, dropout=0.1)
    with pytest.raises(ConfigError, match="no layer for it"):
        train(tiny_encoder(tmp_path / "m", "decoder"), toy_pairs(16), config=config, progress=watcher)


def test_pairs_that_would_teach_nothing_are_counted_and_refused(tmp_path: Path, watcher: Watcher) -> None:
    loss = LossConfig(negatives=Negatives.PAIRED, symmetric=False)
    pairs = [*toy_pairs(8, negatives=2), *toy_pairs(8, seed=1)]
    with pytest.raises(ConfigError, match="8 of 16 pairs bring none"):
        train(tiny_encoder(tmp_path / "m"), pairs, config=TrainConfig(batch_size=8, loss=loss), progress=watcher)


def test_a_batch_that_could_teach_nothing_and_a_queue_that_stays_empty_are_refused(
    tmp_path: Path, watcher: Watcher
) -> None:
    one_way = LossConfig(negatives=Negatives.UNPAIRED, symmetric=False)
    pairs = [*toy_pairs(8, negatives=2), *toy_pairs(8, seed=1)]
    with pytest.raises(ConfigError, match="8 of 16 pairs bring none: a batch of 8"):
        train(tiny_encoder(tmp_path / "a"), pairs, config=TrainConfig(batch_size=8, loss=one_way), progress=watcher)
    with pytest.raises(ConfigError, match="a batch holds all 16 pairs"):
        config = TrainConfig(batch_size=16, loss=LossConfig(queue_size=8))
        train(tiny_encoder(tmp_path / "b"), pairs, config=config, progress=watcher)


@pytest.mark.parametrize("name", ["momentum", "symmetric"])
def test_a_wish_to_stop_is_heard_at_every_chunk_also_of_the_slow_encoder(name: str, tmp_path: Path) -> None:
    config = TrainConfig(n_epochs=1, batch_size=8, max_chunk_tokens=16, loss=FORMS[name], precision=Precision.FLOAT32)
    for allowed in range(1, 6):
        watcher = Watcher(stop_after=allowed)
        with pytest.raises(Stopped):
            train(tiny_encoder(tmp_path / str(allowed)), toy_pairs(16, negatives=1), config=config, progress=watcher)
        assert watcher.asked == allowed + 1 and not watcher.steps


@pytest.mark.parametrize("name", FORMS)
def test_every_form_trains(name: str, tmp_path: Path, watcher: Watcher) -> None:
    loss = FORMS[name]
    negatives = 0 if loss.num_views else 2
    config = TrainConfig(n_epochs=4, batch_size=8, learning_rate=1e-3, loss=loss, precision=Precision.FLOAT32)
    result = train(tiny_encoder(tmp_path / "m"), toy_pairs(32, negatives=negatives), config=config, progress=watcher)
    losses = [record.loss for record in result.curve]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert (result.temperature != 0.05) == loss.learn_temperature


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
