"""A tiny model, and a recorder of what a job body says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.factories import tiny_model


@dataclass
class Recorder:
    """A `Progress` that remembers, and asks to stop once the phase `stop_in` has begun."""

    stop_in: str | None = None
    phases: list[str] = field(default_factory=list)
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    saved_steps: list[int] = field(default_factory=list)

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

    def stop_requested(self) -> bool:
        return self.stop_in in self.phases


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")
