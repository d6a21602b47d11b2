"""The body of an estimate says what the body of the training with the same order does, and leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from infonce.config import EncoderConfig, TrainConfig
from infonce.errors import ConfigError, Stopped
from tests.factories import toy_pairs
from tests.worker.jobs.conftest import Recorder
from worker.jobs.estimate import run
from worker.jobs.train import run as run_training


@pytest.fixture
def order(tmp_path: Path, model: Path) -> dict[str, Any]:
    config = TrainConfig(n_epochs=1, batch_size=8, learning_rate=1e-3).resolve(40, width=384)
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in toy_pairs(40)))
    (tmp_path / "staging").mkdir()
    return {
        "kind": "estimate",
        "job_id": "job-1",
        "attempt": 1,
        "threads": 1,
        "processes": 1,
        "inherited": [],
        **{name: str(tmp_path / name) for name in ("staging", "checkpoints", "ranks")},
        "vectors_root": str(tmp_path / "vectors"),
        "model": {"name": "acme/tiny", "path": str(model)},
        "training_file": {"id": "file-1", "path": str(path), "sha256": "0" * 64, "mapping": None},
        "validation_file": None,
        "evaluation_file": None,
        "mining_file": None,
        "config": config.to_dict(),
        "encoder": EncoderConfig(max_seq_length=32).to_dict(),
        "evaluation": {"held_out": 0.2, "ks": [1, 5]},
    }


def test_steps_and_tokens_are_those_of_the_training_and_nothing_is_left(order: dict[str, Any], tmp_path: Path) -> None:
    before, recorder = sorted(tmp_path.rglob("*")), Recorder()
    found = run(order, recorder)
    assert sorted(tmp_path.rglob("*")) == before
    assert recorder.phases == ["loading", "baseline", "training", "exporting"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    trained = run_training(order, Recorder())
    report = json.loads((tmp_path / "staging" / "report.json").read_text())
    assert (found["trained_tokens"], found["num_steps"]) == (trained["trained_tokens"], report["num_steps"])
    assert run(order, Recorder())["num_judged_texts"] == 0 < found["num_judged_texts"]  # the training kept its vectors


def test_it_stops_where_it_is_told_and_refuses_what_it_cannot_know(order: dict[str, Any]) -> None:
    with pytest.raises(Stopped):
        run(order, Recorder(stop_in="training"))
    with pytest.raises(ConfigError, match="2 processes would train together"):
        run({**order, "processes": 2}, Recorder())
