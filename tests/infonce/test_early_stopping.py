"""A run that is judged while it goes on ends when it no longer gets better, and leaves its best state."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infonce.checkpoint import Checkpoints, newest
from infonce.config import Attention, Precision, TrainConfig
from infonce.early_stopping import EarlyStopping, evaluation_is_due
from infonce.encoder import Encoder
from infonce.errors import CheckpointMismatch, ConfigError, Stopped
from infonce.loss_config import LossConfig
from infonce.records import Beside, Evaluate, TrainResult
from infonce.train import train
from tests.factories import tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher

CONFIG = TrainConfig(
    n_epochs=5,
    batch_size=8,
    learning_rate=1e-2,
    precision=Precision.FLOAT32,
    attention=Attention.FUSED,
    loss=LossConfig(learn_temperature=True, queue_size=8, momentum=0.5),
    early_stopping=EarlyStopping(patience=2),
)  # 20 steps over 32 pairs, judged after 0, 2, 4, …
SCORES = {0: 0.1, 2: 0.2, 4: 0.5, 6: 0.4, 8: 0.5}
"""The best is that after 4 steps: a tie is no rise, and two evaluations later patience is at its end."""


def judged(
    encoder: Encoder,
    watcher: Watcher,
    score: Callable[[int], float],
    *,
    kept: Checkpoints | None = None,
    digest: str = "",
) -> TrainResult:
    """A run over toy pairs, judged by that score."""
    return train(
        encoder,
        toy_pairs(32),
        config=CONFIG,
        progress=watcher,
        checkpoints=kept,
        beside=Beside(evaluate=Evaluate(metrics=lambda step: {"ndcg@10": score(step)}, digest=digest)),
    )


def test_a_run_ends_when_patience_does_and_leaves_the_best_state(tmp_path: Path, watcher: Watcher) -> None:
    encoder, seen = tiny_encoder(tmp_path / "m"), {}

    def score(step: int) -> float:
        seen[step] = encoder.fingerprint()
        return SCORES[step]

    result = judged(encoder, watcher, score)
    assert (len(result.curve), result.best_step) == (8, 4)
    assert encoder.fingerprint() == seen[4] and len(set(seen.values())) == 5
    assert result.temperature == watcher.steps[4].temperature != watcher.steps[5].temperature
    assert watcher.judgements == SCORES


def test_a_run_that_never_gets_better_leaves_the_weights_that_it_began_with(tmp_path: Path, watcher: Watcher) -> None:
    encoder = tiny_encoder(tmp_path / "m")
    before = encoder.fingerprint()
    assert judged(encoder, watcher, lambda step: -step).best_step == 0
    assert encoder.fingerprint() == before and len(watcher.steps) == 4


class Impatient(Watcher):
    """Asks to stop once so many steps are made."""

    def stop_requested(self) -> bool:
        return len(self.steps) == self.stop_after


@pytest.mark.parametrize("stop_after", [3, 4, 7])
def test_a_judged_run_that_is_stopped_ends_with_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    expected, encoder = tiny_encoder(tmp_path / "a"), tiny_encoder(tmp_path / "b")
    judged(expected, Watcher(), SCORES.__getitem__)
    kept = Checkpoints(folder=tmp_path / "kept")
    with pytest.raises(Stopped):
        judged(tiny_encoder(tmp_path / "c"), Impatient(stop_after=stop_after), SCORES.__getitem__, kept=kept)
    saved, watcher = newest(kept), Watcher()
    assert saved is not None and saved.step == stop_after
    assert judged(encoder, watcher, SCORES.__getitem__, kept=kept).best_step == 4
    assert encoder.fingerprint() == expected.fingerprint()
    assert min(watcher.judgements, default=8) >= stop_after - 1  # what was judged is not judged again


def test_evaluations_are_spaced_evenly_and_the_end_is_one() -> None:
    assert [step for step in range(96) if evaluation_is_due(step, 95)] == [*range(0, 91, 10), 95]
    assert [step for step in range(4) if evaluation_is_due(step, 3)] == [0, 1, 2, 3]


@pytest.mark.parametrize("metric", ["ndgc@10", "ndcg", "ndcg@0", "ndcg@10 ", "loss", 10])
def test_a_metric_that_nobody_measures_is_refused_when_it_is_named(metric: object) -> None:
    with pytest.raises(ConfigError, match=r"early_stopping\.metric is .*such as ndcg@10"):
        TrainConfig.from_dict({"early_stopping": {"metric": metric}})


def test_a_rank_that_was_not_measured_is_an_error_and_not_the_last_state(encoder: Encoder, watcher: Watcher) -> None:
    config = replace(CONFIG, early_stopping=EarlyStopping(metric="mrr@7"))
    known = Evaluate(metrics=lambda step: {"ndcg@10": 0.5}, digest="")
    with pytest.raises(ConfigError, match=r"'mrr@7', which was not measured; known are ndcg@10"):
        train(encoder, toy_pairs(32), config=config, progress=watcher, beside=Beside(evaluate=known))
    with pytest.raises(ConfigError, match="nothing is held out to judge by"):
        train(encoder, toy_pairs(32), config=config, progress=watcher)
    assert watcher.steps == [] and torch.is_grad_enabled()


def test_a_run_that_goes_on_is_judged_on_the_same_data(tmp_path: Path) -> None:
    kept = Checkpoints(folder=tmp_path / "kept")
    with pytest.raises(Stopped):
        judged(tiny_encoder(tmp_path / "a"), Watcher(stop_after=9), SCORES.__getitem__, kept=kept, digest="these")
    with pytest.raises(CheckpointMismatch, match="its held-out data was these and is those"):
        judged(tiny_encoder(tmp_path / "b"), Watcher(), SCORES.__getitem__, kept=kept, digest="those")


def test_evaluating_is_no_time_of_the_training(encoder: Encoder, watcher: Watcher) -> None:
    def slowly(step: int) -> float:
        time.sleep(0.2)
        return SCORES[step]

    began = time.perf_counter()
    result = judged(encoder, watcher, slowly)
    assert result.seconds < time.perf_counter() - began - 0.2 * len(SCORES)
    assert result.curve[-1].elapsed_seconds <= result.seconds


@pytest.mark.parametrize("asked_at", [1, 3, 7])
def test_a_run_that_is_told_to_finish_is_judged_once_more_and_leaves_the_best_state(
    tmp_path: Path, watcher: Watcher, asked_at: int
) -> None:
    encoder, seen = tiny_encoder(tmp_path / "m"), {}

    def score(step: int) -> float:
        seen[step] = encoder.fingerprint()
        return float(step)

    beside = Beside(
        evaluate=Evaluate(metrics=lambda step: {"ndcg@10": score(step)}, digest=""),
        finish=lambda: len(watcher.steps) >= asked_at,
    )
    result = train(encoder, toy_pairs(32), config=CONFIG, progress=watcher, beside=beside)
    assert (len(result.curve), result.best_step, max(seen)) == (asked_at,) * 3
    assert encoder.fingerprint() == seen[asked_at]


def test_a_run_that_is_told_to_finish_has_the_weights_of_its_steps_and_makes_one_at_least(
    tmp_path: Path, watcher: Watcher
) -> None:
    config = replace(CONFIG, early_stopping=None)
    undisturbed = tiny_encoder(tmp_path / "u")
    with pytest.raises(Stopped):
        train(undisturbed, toy_pairs(32), config=config, progress=Impatient(stop_after=1), checkpoints=None)
    encoder = tiny_encoder(tmp_path / "m")
    result = train(encoder, toy_pairs(32), config=config, progress=watcher, beside=Beside(finish=lambda: True))
    assert len(result.curve) == 1 and encoder.fingerprint() == undisturbed.fingerprint()
