"""The body of an estimate says what the body of the training with the same order does, and leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from infonce.errors import ConfigError, Stopped
from tests.worker.jobs.conftest import Recorder
from worker.jobs.estimate import run
from worker.jobs.train import run as run_training


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
