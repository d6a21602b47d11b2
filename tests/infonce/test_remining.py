"""Hard negatives are looked for before a run and between its epochs, with the model as it is then."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infonce.batches import PairTable
from infonce.checkpoint import Checkpoints, newest
from infonce.config import Attention, EncoderConfig, HardNegatives, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import CheckpointMismatch, ConfigError, Stopped
from infonce.judging import AsItIsNow
from infonce.loss_config import LossConfig, Negatives
from infonce.meeting import RankOrder
from infonce.mining import mine
from infonce.mining_config import MiningConfig
from infonce.pairs import Pair
from infonce.prepare import prepare
from infonce.ranks import ranks
from infonce.records import Beside
from infonce.remining import Remining
from infonce.train import train
from tests.factories import sentences, tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher

HOW = MiningConfig(per_query=2, range=(0, 10), relative_margin=None)
CONFIG = TrainConfig(
    n_epochs=3,
    batch_size=8,
    learning_rate=1e-2,
    precision=Precision.FLOAT32,
    attention=Attention.FUSED,
    mine=HOW,
    mine_every_epochs=1,
)
PAIRS = toy_pairs(24, negatives=1)  # 3 steps an epoch
CORPUS = sentences(60, seed=7)


def texts(table: PairTable) -> list[list[str]]:
    ends = table.negative_offsets
    return [[table.rows[row] for row in table.negatives[ends[i] : ends[i + 1]]] for i in range(len(table))]


def looked_for(encoder: Encoder, corpus: list[str] | None) -> list[list[str]]:
    now = AsItIsNow(encoder=encoder, precision=Precision.FLOAT32, stop=lambda: False)
    return [list(found.pair.negatives) for found in mine(now, PAIRS, corpus=corpus, config=HOW).pairs]


@pytest.mark.parametrize("corpus", [None, CORPUS], ids=["own texts", "corpus"])
def test_negatives_are_those_that_mining_finds_with_the_weights_of_the_moment(
    corpus: list[str] | None, encoder: Encoder, watcher: Watcher
) -> None:
    config = replace(CONFIG, mine_every_epochs=2)
    ready = prepare(encoder, PAIRS, config=config, progress=watcher, saved=None, corpus=corpus)
    negatives = Remining(encoder, ready, pairs=PAIRS, beside=Beside(corpus=corpus))
    first = looked_for(encoder, corpus)
    assert texts(negatives.table(0, 0, progress=watcher)) == first
    with torch.no_grad():
        for weight in encoder.backbone.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    assert texts(negatives.table(1, 3, progress=watcher)) == first != looked_for(encoder, corpus)
    assert texts(negatives.table(2, 6, progress=watcher)) == looked_for(encoder, corpus)
    assert watcher.mined_steps == [0, 6]
    assert (len(PAIRS), len(PAIRS)) in watcher.num_embedded  # the anchors, when they are looked for


@pytest.mark.parametrize("given, without_room", [(1, 0), (3, 24), (6, 48)])
def test_given_negatives_come_first_and_what_has_no_room_beside_them_is_told(
    given: int, without_room: int, encoder: Encoder, watcher: Watcher
) -> None:
    others = sentences(90, seed=5)
    pairs = [Pair(pair.anchor, pair.positive, tuple(others[i : i + given])) for i, pair in enumerate(PAIRS)]
    config = replace(CONFIG, max_negatives=4)
    ready = prepare(encoder, pairs, config=config, progress=watcher, saved=None, corpus=CORPUS)
    table = Remining(encoder, ready, pairs=pairs, beside=Beside(corpus=CORPUS)).table(0, 0, progress=watcher)
    for pair, taken in zip(pairs, texts(table), strict=True):
        assert taken[:given] == list(pair.negatives[:4]) and len(taken) == min(4, given + 2)
    assert watcher.without_room == [without_room]


def run(folder: Path, config: TrainConfig, *, kept: Checkpoints | None = None, stop_after: int = 10**6) -> Encoder:
    encoder, watcher = tiny_encoder(folder), Watcher(stop_after=stop_after)
    train(encoder, PAIRS, config=config, progress=watcher, checkpoints=kept, beside=Beside(corpus=CORPUS))
    return encoder


@pytest.mark.parametrize("stop_after", [9, 16, 23])
def test_a_run_that_is_stopped_between_two_looks_ends_with_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", CONFIG).fingerprint()
    assert expected != run(tmp_path / "once", replace(CONFIG, mine_every_epochs=None)).fingerprint()
    kept = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    with pytest.raises(Stopped):
        run(tmp_path / "first", CONFIG, kept=kept, stop_after=stop_after)
    assert run(tmp_path / "second", CONFIG, kept=kept).fingerprint() == expected


def test_two_processes_train_on_what_the_first_one_found(tmp_path: Path, watcher: Watcher) -> None:
    alone, shared = run(tmp_path / "alone", CONFIG), tiny_encoder(tmp_path / "m")
    as_it_is = EncoderConfig(device="cpu", max_seq_length=shared.max_seq_length)
    order = RankOrder(model=tmp_path / "m", encoder=as_it_is, config=CONFIG, corpus=CORPUS)
    with ranks(order, PAIRS, count=2, folder=tmp_path / "ranks"):
        train(shared, PAIRS, config=CONFIG, progress=watcher, beside=Beside(corpus=CORPUS))
    assert watcher.mined_steps == [0, 3, 6]
    for weight, other in zip(alone.backbone.parameters(), shared.backbone.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-5)


def test_a_run_does_not_go_on_with_another_corpus(tmp_path: Path) -> None:
    kept = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    with suppress(Stopped):
        run(tmp_path / "m", CONFIG, kept=kept, stop_after=30)
    assert newest(kept) is not None
    with pytest.raises(CheckpointMismatch, match="pairs"):
        train(tiny_encoder(tmp_path / "n"), PAIRS, config=CONFIG, progress=Watcher(), checkpoints=kept)


def test_what_is_looked_for_takes_part_in_the_loss(tmp_path: Path, watcher: Watcher) -> None:
    paired = replace(CONFIG, loss=LossConfig(negatives=Negatives.PAIRED), n_epochs=1)
    bare = [Pair(pair.anchor, pair.positive) for pair in PAIRS]
    train(tiny_encoder(tmp_path / "m"), bare, config=paired, progress=watcher)
    assert watcher.mined_counts == [48] and watcher.steps[0].num_tokens > 0
    nothing = replace(paired, mine=replace(HOW, max_score=-1.0))
    with pytest.raises(ConfigError, match="bring none"):
        train(tiny_encoder(tmp_path / "n"), bare, config=nothing, progress=watcher)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hard_negatives": HardNegatives.NONE}, "hard_negatives is 'none'"),
        ({"max_negatives": 0}, "max_negatives is 0"),
        ({"loss": LossConfig(num_views=2)}, "num_views is 2"),
        ({"mine": None}, "mine is not set"),
        ({"mine_every_epochs": 0}, "mine_every_epochs is 0"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]


def test_a_corpus_that_nobody_would_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a corpus is given and mine is not set"):
        run(tmp_path / "m", replace(CONFIG, mine=None, mine_every_epochs=None))


def test_the_settings_survive_json() -> None:
    assert TrainConfig.from_dict(CONFIG.to_dict()) == CONFIG
