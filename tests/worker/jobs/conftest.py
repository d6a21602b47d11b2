"""A tiny model, and a recorder of what a job body says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infonce.config import EncoderConfig, TrainConfig
from infonce.pairs import Pair
from tests.factories import tiny_model, toy_pairs


@dataclass
class Recorder:
    """A `Progress` that remembers, and asks to stop once the phase `stop_in` has begun."""

    stop_in: str | None = None
    phases: list[str] = field(default_factory=list)
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    saved_steps: list[int] = field(default_factory=list)
    early: list[Path] = field(default_factory=list)

    def phase(self, name: str) -> None:
        self.phases.append(str(name))

    def step(self, values: Mapping[str, Any]) -> None:
        self.steps.append(values)

    def event(self, level: str, type: str, *, message: str, data: Mapping[str, Any] | None = None) -> None:
        self.events.append(type)

    def resolved(self, values: Mapping[str, Any]) -> None:
        self.chosen.update(values)

    def saved(self, step: int) -> None:
        self.saved_steps.append(step)

    def vectors(self, path: Path) -> None:
        self.early.append(path)

    def stop_requested(self) -> bool:
        return self.stop_in in self.phases


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def write_pairs(path: Path, pairs: Sequence[Pair]) -> dict[str, Any]:
    """A file of these pairs, as orders name it."""
    path.write_text("".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in pairs))
    return {"id": f"file-{path.stem}", "path": str(path), "sha256": "0" * 64, "mapping": None}


@pytest.fixture
def order(tmp_path: Path, model: Path) -> dict[str, Any]:
    """The order of a short training."""
    config = TrainConfig(n_epochs=1, batch_size=8, learning_rate=1e-3).resolve(40, width=384)
    (tmp_path / "staging").mkdir()
    return {
        "kind": "train",
        "job_id": "ftjob-1",
        "attempt": 1,
        "threads": 1,
        "processes": 1,
        "inherited": [],
        **{name: str(tmp_path / name) for name in ("staging", "checkpoints", "ranks", "finish")},
        "vectors_root": str(tmp_path / "vectors"),
        "model": {"name": "acme/tiny", "path": str(model)},
        "training_file": write_pairs(tmp_path / "pairs.jsonl", toy_pairs(40)),
        "validation_file": None,
        "evaluation_file": None,
        "mining_file": None,
        "config": config.to_dict(),
        "encoder": EncoderConfig(max_seq_length=32).to_dict(),
        "evaluation": {"held_out": 0.2, "ks": [1, 5]},
    }
