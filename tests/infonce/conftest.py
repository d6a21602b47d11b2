"""Fixtures of the library's tests: a tiny encoder and a watcher of training runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infonce.encoder import Encoder
from infonce.groups import Groups
from infonce.precision import Choice
from infonce.records import StepRecord
from tests.factories import tiny_encoder


@dataclass
class Watcher:
    """A `Progress` that remembers, and asks to stop after `stop_after` questions."""

    stop_after: int = 1_000_000
    steps: list[StepRecord] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    asked: int = 0
    reasons: list[str] = field(default_factory=list)
    lost: tuple[int, int] = (0, 0)
    judgements: dict[int, float] = field(default_factory=dict)
    resumed_after: int | None = None
    saved_steps: list[int] = field(default_factory=list)
    damaged_steps: list[int] = field(default_factory=list)
    chunk_sizes: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    mined_steps: list[int] = field(default_factory=list)
    mined_counts: list[int] = field(default_factory=list)
    without_room: list[int] = field(default_factory=list)
    num_embedded: list[tuple[int, int]] = field(default_factory=list)
    groups: Groups | None = None

    def step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def measured(self, choice: Choice) -> None:
        self.choices.append(choice)

    def resumed(self, step: int) -> None:
        self.resumed_after = step

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        self.lost = num_pairs, num_negatives

    def joined(self, groups: Groups) -> None:
        self.groups = groups

    def mining(self, step: int) -> None:
        self.mined_steps.append(step)

    def embedded(self, done: int, total: int) -> None:
        self.num_embedded.append((done, total))

    def mined(self, step: int, counts: Mapping[str, Any]) -> None:
        self.mined_counts.append(counts["mined"])
        self.without_room.append(counts["without_room"])

    def judged(self, step: int, metric: str, *, metrics: Mapping[str, float]) -> None:
        self.judgements[step] = metrics[metric]

    def saved(self, step: int) -> None:
        self.saved_steps.append(step)

    def damaged(self, step: int) -> None:
        self.damaged_steps.append(step)

    def elsewhere(self, difference: str) -> None:
        self.differences.append(difference)

    def halved(self, max_chunk_tokens: int) -> None:
        self.chunk_sizes.append(max_chunk_tokens)

    def unsaved(self, reason: str) -> None:
        self.reasons.append(reason)

    def stop_requested(self) -> bool:
        self.asked += 1
        return self.asked > self.stop_after


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return tiny_encoder(tmp_path / "bert")
