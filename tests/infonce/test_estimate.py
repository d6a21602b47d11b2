"""An estimate: its schedule is the run's own, it grows with the work, it leaves nothing, and it can be stopped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from infonce.config import Attention, Precision, Side, TrainConfig
from infonce.early_stopping import EarlyStopping
from infonce.encoder import Encoder
from infonce.errors import ConfigError, Stopped
from infonce.estimate import Estimate, Plan, estimate
from infonce.extra_work import ExtraWork
from infonce.judged_work import Judge, JudgedTime
from infonce.length_picture import TokenCounter
from infonce.lora_config import LoraConfig
from infonce.loss_config import LossConfig
from infonce.pairs import Pair
from infonce.qrels import EvalSet
from infonce.soup import Work, affordable, size_of
from infonce.split import held_out
from infonce.train import train
from infonce.vectors import CachedEncoder
from tests.factories import tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher

FIXED: dict[str, Any] = {
    "precision": Precision.FLOAT32,
    "attention": Attention.FUSED,
    "batch_size": 8,
    "n_epochs": 2,
    "max_chunk_tokens": 128,
    "max_graph_gb": 1.0,
}


def plan_of(encoder: Encoder, folder: Path, *, pairs: Sequence[Pair], share: float = 0.0, **settings: Any) -> Plan:
    config = TrainConfig(**FIXED | settings)
    rest, judged = held_out(pairs, share, seed=1) if share else (list(pairs), None)
    judge = Judge(encoder=encoder, precision=Precision.FLOAT32, stop=lambda: False)
    return Plan(
        encoder=encoder,
        pairs=rest,
        config=config,
        judge=judge,
        judged=[] if judged is None else [judged],
        chosen_by=judged,
        source=CachedEncoder(folder / "vectors", judge.encode, prompt=encoder.prompt),
        save_every_seconds=120.0,
        loading_seconds=0.0,
        scratch=folder,
    )


def estimated(encoder: Encoder, folder: Path, **given: Any) -> Estimate:
    return estimate(plan_of(encoder, folder, **given), progress=Watcher())


@pytest.mark.parametrize(("max_graph_gb", "passes"), [(1.0, 1), (0.0, 2)])
def test_steps_chunks_and_tokens_are_those_of_the_run(tmp_path: Path, max_graph_gb: float, passes: int) -> None:
    pairs = [*toy_pairs(37, negatives=2), *toy_pairs(5)]
    found = estimated(tiny_encoder(tmp_path / "a"), tmp_path, pairs=pairs, max_graph_gb=max_graph_gb)
    encoder, forwards = tiny_encoder(tmp_path / "b"), list[int]()
    encoder.backbone.register_forward_hook(lambda *_: forwards.append(1))
    config = TrainConfig(**FIXED | {"max_graph_gb": max_graph_gb})
    done = train(encoder, pairs, config=config, progress=Watcher())
    assert found.config == done.config and found.num_pairs == done.num_pairs
    assert (found.num_steps, found.trained_tokens) == (len(done.curve), done.trained_tokens)
    assert passes * found.num_chunks == len(forwards) - 1  # one to see what a graph costs


def test_more_pairs_take_more_of_everything(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    small, large = (estimated(encoder, tmp_path, pairs=toy_pairs(count), share=0.2) for count in (40, 400))
    for name in ("num_pairs", "num_texts", "num_judged_texts", "num_steps", "num_chunks", "trained_tokens"):
        assert 8 * getattr(small, name) < getattr(large, name) < 12 * getattr(small, name), name
    assert small.seconds["training"] < large.seconds["training"]
    assert small.total_seconds < large.total_seconds == pytest.approx(sum(large.seconds.values()))
    assert large.seconds_range[0] < large.total_seconds < large.seconds_range[1]


def test_weights_are_kept_and_nothing_is_left(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    before = encoder.fingerprint()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = estimated(encoder, scratch, pairs=toy_pairs(60), share=0.2)
    assert encoder.fingerprint() == before and list(scratch.iterdir()) == []
    assert found.peak_memory_bytes > 1e8 and found.memory_range[0] < found.peak_memory_bytes < found.memory_range[1]
    assert found.measured["whole_steps"] >= 1 and found.measured["encoded_texts"] > 0


def test_a_batch_of_one_chunk_is_a_whole_step(tmp_path: Path) -> None:
    found = estimated(tiny_encoder(tmp_path / "model"), tmp_path, pairs=toy_pairs(40), max_chunk_tokens=10_000)
    assert found.measured["whole_steps"] == found.measured["steps"] == found.measured["chunks"]


def test_vectors_that_are_known_take_no_time(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    plan = plan_of(encoder, tmp_path, pairs=toy_pairs(60), share=0.2)
    whole = estimate(plan, progress=Watcher())
    plan.source.encode(list(plan.judged[0].corpus.values()), side=Side.DOCUMENT)
    found = estimate(plan, progress=Watcher())
    assert found.num_judged_texts == len(plan.judged[0].queries) < whole.num_judged_texts


@pytest.mark.parametrize(
    "settings",
    [
        {"lora": LoraConfig()},
        {"dropout": 0.1, "loss": LossConfig(learn_temperature=True, matryoshka_dims=(16, 32))},
        {"loss": LossConfig(negatives="paired")},  # type: ignore[arg-type]
        {"loss": LossConfig(queue_size=64, momentum=0.9)},
        {"loss": LossConfig(num_views=2), "hard_negatives": "none"},
        {"early_stopping": EarlyStopping(), "batch_size": 40},
    ],
)
def test_every_form_of_training_can_be_estimated(tmp_path: Path, settings: dict[str, Any]) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    found = estimated(encoder, tmp_path, pairs=toy_pairs(60, negatives=1), share=0.2, **settings)
    assert found.seconds["training"] > 0 and found.num_steps == 2 * -(-found.num_pairs // found.config.batch_size)  # type: ignore[operator]
    assert (found.seconds["judging"] > 0) == ("early_stopping" in settings)


def test_audit_and_blends_of_a_job_are_counted(tmp_path: Path) -> None:
    encoder, pairs = tiny_encoder(tmp_path / "model"), toy_pairs(80, negatives=2)
    plan = plan_of(encoder, tmp_path, pairs=pairs, share=0.5)
    judging = JudgedTime.of(plan.judge, plan.judged, chosen_by=None, source=plan.source, ks=plan.ks)
    known: dict[str, Any] = {"judge": plan.judge, "judging": judging}
    counter = TokenCounter.of(tmp_path / "model", "tiny")
    [judged] = plan.judged
    extra = ExtraWork(counter=counter, judged=plan.judged, chosen_by=(judged, judged))
    bare = [Pair(pair.anchor, pair.positive) for pair in pairs]
    assert extra.audit_seconds(pairs, **known) > extra.audit_seconds(bare, **known) > 0
    assert extra.blending_seconds(0, ks=[10], **known) == (0.0, 0.0)
    assert min(extra.blending_seconds(10**6, ks=[10], **known)) > 0.0
    assert ExtraWork(counter=counter).blending_seconds(10**6, ks=[10], **known) == (0.0, 0.0)
    found = estimate(replace(plan, extra=extra), progress=Watcher())
    assert found.seconds.keys() > {"blending", "baseline"}


def test_as_many_blends_are_foreseen_as_the_job_will_try() -> None:
    long = EvalSet(corpus={"d": "x" * 9_999}, queries={"q": "y" * 100}, qrels={"q": {"d": 1}})
    assert size_of(long) == 1_500 + 100  # a model reads no more of a text
    work = Work.of(1_000, judged=[long, long], probe=long, sample=long)
    assert work == Work(job=12_000 + 2 * (3_200 + 1_600), point=3_200, final=3_200)
    assert affordable(work) is None and affordable(Work.of(10_000, judged=[long], probe=long, sample=long)) == 8


def test_a_stop_is_heard_while_steps_are_computed(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    watcher = Watcher()
    estimate(plan_of(encoder, tmp_path, pairs=toy_pairs(60)), progress=watcher)
    with pytest.raises(Stopped):
        estimate(plan_of(encoder, tmp_path, pairs=toy_pairs(60)), progress=Watcher(stop_after=watcher.asked // 2))
    assert not list(tmp_path.glob("infonce-estimate-*"))


def test_what_does_not_fit_is_said_as_the_run_says_it(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model")
    with pytest.raises(ConfigError, match="batch_size is 500 and there are 60 pairs; lower it"):
        estimated(encoder, tmp_path, pairs=toy_pairs(60), batch_size=500)


def test_a_run_takes_about_what_was_said(tmp_path: Path) -> None:
    pairs = toy_pairs(400)
    found = estimated(tiny_encoder(tmp_path / "a"), tmp_path, pairs=pairs, n_epochs=1)
    began = perf_counter()
    train(tiny_encoder(tmp_path / "b"), pairs, config=TrainConfig(**FIXED | {"n_epochs": 1}), progress=Watcher())
    real = perf_counter() - began
    assert 1 / 3 < (found.seconds["preparing"] + found.seconds["training"]) / real < 3
    assert np.isfinite(found.total_seconds)
