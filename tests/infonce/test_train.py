"""The loop learns, repeats itself to the bit, takes each pair, and stops when asked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infonce.batches import PairTable
from infonce.calibrate import WORTH_OF_PLAIN
from infonce.config import Attention, Precision, Prompts, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError, NonFiniteLoss, Stopped
from infonce.layout import read_prefixes
from infonce.loss_config import LossConfig
from infonce.losses import info_nce
from infonce.optimizer import share_of_peak
from infonce.pairs import Pair
from infonce.train import train
from tests.factories import tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher

FIXED = {"precision": Precision.FLOAT32, "attention": Attention.FUSED}
CONFIG = TrainConfig(n_epochs=2, batch_size=8, learning_rate=1e-3, **FIXED)


def test_training_lowers_the_loss_and_tells_of_every_step(encoder: Encoder, watcher: Watcher) -> None:
    result = train(encoder, toy_pairs(32), config=CONFIG, progress=watcher)
    assert [record.step for record in watcher.steps] == list(range(1, 9))
    assert watcher.steps[-1].loss < 0.5 * watcher.steps[0].loss
    assert watcher.steps[-1].eta_seconds == 0
    assert result.curve == tuple(watcher.steps)
    assert watcher.choices == [result.choice]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_two_runs_end_with_the_same_bits(dropout: float, tmp_path: Path, watcher: Watcher) -> None:
    config = TrainConfig(n_epochs=1, batch_size=8, learning_rate=1e-3, dropout=dropout, **FIXED)
    encoders = [tiny_encoder(tmp_path / str(number)) for number in range(2)]
    for encoder in encoders:
        torch.rand(encoder.dimensions)  # a generator moved by others must not matter
        train(encoder, toy_pairs(24, negatives=2), config=config, progress=watcher)
    assert encoders[0].fingerprint() == encoders[1].fingerprint()


def test_the_folder_of_a_model_names_the_prefixes_that_its_last_training_kept(
    tmp_path: Path, encoder: Encoder, watcher: Watcher
) -> None:
    for dims in ((8, 16), None):
        config = TrainConfig(n_epochs=1, batch_size=8, loss=LossConfig(matryoshka_dims=dims), **FIXED)
        train(encoder, toy_pairs(8), config=config, progress=watcher)
        encoder.save(tmp_path / str(dims))
        assert read_prefixes(tmp_path / str(dims)) == frozenset(dims or ())
        encoder = Encoder.load(tmp_path / str(dims))


def test_a_step_in_chunks_equals_one_undivided_pass(tmp_path: Path, watcher: Watcher) -> None:
    pairs = toy_pairs(8, negatives=2)
    chunked, whole = tiny_encoder(tmp_path / "a"), tiny_encoder(tmp_path / "b")
    config = TrainConfig(
        n_epochs=1, batch_size=8, learning_rate=1e-2, max_chunk_tokens=16, warmup_ratio=0, max_grad_norm=1e6, **FIXED
    )
    train(chunked, pairs, config=config, progress=watcher)
    _plain_step(whole, pairs, config)
    for name, tensor in whole.backbone.state_dict().items():
        torch.testing.assert_close(chunked.backbone.state_dict()[name], tensor, atol=2e-4, rtol=0)


def _plain_step(encoder: Encoder, pairs: list[Pair], config: TrainConfig) -> None:
    """One AdamW step, texts encoded one by one, in the batch's own order."""
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=7)
    batch = table.batch(np.arange(len(pairs)))
    tokens = encoder.tokenize(table.rows)

    def embed(positions: np.ndarray) -> torch.Tensor:
        return torch.cat([encoder.embed(tokens, batch.rows[[position]]) for position in positions])

    dense = torch.zeros(len(pairs), len(pairs) + len(batch.negatives), dtype=torch.bool)
    dense[tuple(batch.also_positive)] = True
    loss = info_nce(
        embed(batch.anchors),
        embed(batch.positives),
        negatives=embed(batch.negatives),
        also_positive=dense,
    )
    loss.backward()
    optimizer = torch.optim.AdamW(encoder.backbone.parameters(), lr=1e-2, weight_decay=0)
    optimizer.step()


def test_known_positives_are_never_pushed_away(tmp_path: Path, watcher: Watcher) -> None:
    same = [Pair(f"red cat {number}", "the one answer") for number in range(8)]
    train(tiny_encoder(tmp_path / "m"), same, config=CONFIG, progress=watcher)
    assert {record.loss for record in watcher.steps} == {0.0}


def test_a_wish_to_stop_is_heard_at_the_next_chunk(encoder: Encoder, watcher: Watcher) -> None:
    watcher.stop_after = 3
    config = TrainConfig(n_epochs=1, batch_size=8, max_chunk_tokens=16, **FIXED)
    with pytest.raises(Stopped):
        train(encoder, toy_pairs(32), config=config, progress=watcher)
    assert watcher.steps == []
    assert watcher.asked == 4


def test_a_loss_that_leaves_the_numbers_ends_the_run_and_spares_the_weights(encoder: Encoder, watcher: Watcher) -> None:
    with torch.no_grad():
        next(encoder.backbone.parameters()).mul_(1e38)
    with pytest.raises(NonFiniteLoss, match="lower the learning rate") as caught:
        train(encoder, toy_pairs(16), config=CONFIG, progress=watcher)
    assert caught.value.step == 0
    assert all(torch.isfinite(tensor).all() for tensor in encoder.backbone.parameters())


def test_too_few_pairs_are_refused_with_numbers(encoder: Encoder, watcher: Watcher) -> None:
    with pytest.raises(ConfigError, match="batch_size is 8 and there are 5 pairs"):
        train(encoder, toy_pairs(5), config=CONFIG, progress=watcher)
    with pytest.raises(ConfigError, match="there are 1 training pairs"):
        train(encoder, toy_pairs(1), config=TrainConfig(), progress=watcher)


def test_the_rate_climbs_linearly_and_falls_to_nearly_nothing() -> None:
    shares = [share_of_peak(step, 100, warmup_ratio=0.2) for step in range(100)]
    assert np.argmax(shares) == 20
    assert shares[20] == 1
    assert shares[-1] == pytest.approx(1 / 80)
    assert all(share > 0 for share in shares)


def test_auto_measures_and_reports_what_decided(encoder: Encoder, watcher: Watcher) -> None:
    result = train(encoder, toy_pairs(16), config=TrainConfig(), progress=watcher)
    choice = result.choice
    assert result.config.precision is choice.precision is not Precision.AUTO
    assert result.config.attention is choice.attention is not Attention.AUTO
    fused, plain = (choice.seconds[f"attention_{kind}"] for kind in (Attention.FUSED, Attention.PLAIN))
    assert choice.attention is (Attention.PLAIN if plain < WORTH_OF_PLAIN * fused else Attention.FUSED)
    assert "auto" not in result.config.to_dict().values()


def test_an_attention_that_the_model_lacks_is_refused_and_auto_takes_the_other(
    tmp_path: Path, watcher: Watcher
) -> None:
    encoder = tiny_encoder(tmp_path / "m", "mpnet")
    with pytest.raises(ConfigError, match="use 'eager'"):
        train(encoder, toy_pairs(8), config=CONFIG, progress=watcher)
    result = train(encoder, toy_pairs(8), config=TrainConfig(n_epochs=1), progress=watcher)
    assert result.config.attention is Attention.PLAIN
