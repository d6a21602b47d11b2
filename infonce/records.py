"""What a run tells: the records of its steps and its result, and who listens."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from infonce.config import TrainConfig
from infonce.groups import Groups
from infonce.precision import Choice
from infonce.vectors import TextEncoder

SPEED_WINDOW_SECONDS: Final = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """How an encoder is judged while it is trained."""

    metrics: Callable[[int], Mapping[str, float]]
    """How good it is after so many steps, 0 among them: metric key → value."""
    digest: str
    """Of what it is judged on; a run that goes on must be judged on the same."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What a run looks at beside its pairs."""

    evaluate: Evaluate | None = None
    """How it is judged, where early stopping is set."""
    corpus: Sequence[str] | None = None
    """The documents among which hard negatives are looked for; None are the pairs' own."""
    vectors: TextEncoder | None = None
    """Of the model as it begins, where they are kept."""
    finish: Callable[[], bool] = _never
    """Whether the run is to end after the step in hand with what it has made; asked at every step."""


NOTHING_BESIDE: Final = Beside()


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """What one optimizer step did."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    temperature: float
    """What the loss was computed with."""
    num_tokens: int
    elapsed_seconds: float
    """Since the run began, attempts that were broken off included, evaluations not."""
    pairs_per_second: float
    eta_seconds: float


class Progress(Protocol):
    """Who watches a run."""

    def step(self, record: StepRecord) -> None:
        """Take note of a finished step."""

    def measured(self, choice: Choice) -> None:
        """Take note of what this machine computes fastest."""

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        """Take note that so many are left out: the model's tokenizer makes nothing of a text of theirs."""

    def joined(self, groups: Groups) -> None:
        """Take note of which pairs hang together, and what that costs."""

    def resumed(self, step: int) -> None:
        """Take note that the run goes on after that many steps, which an earlier one has made."""

    def saved(self, step: int) -> None:
        """Take note that a run which is broken off now goes on after that many steps."""

    def damaged(self, step: int) -> None:
        """Take note that the checkpoint of that step is not what was written, and that the one before is looked for."""

    def elsewhere(self, difference: str) -> None:
        """Take note that the run goes on on another machine, or under other versions: its last bits may differ."""

    def halved(self, max_chunk_tokens: int) -> None:
        """Take note that memory did not suffice: from here on a chunk has so many tokens, and rounds otherwise."""

    def unsaved(self, reason: str) -> None:
        """Take note that a checkpoint could not be written; the run goes on and tries again."""

    def judged(self, step: int, metric: str, *, metrics: Mapping[str, float]) -> None:
        """Take note of how good the encoder is after so many steps, and of the metric that decides."""

    def mining(self, step: int) -> None:
        """Take note that hard negatives are looked for after so many steps."""

    def embedded(self, done: int, total: int) -> None:
        """Take note that so many of the texts that this or an evaluation needs are embedded."""

    def mined(self, step: int, counts: Mapping[str, Any]) -> None:
        """Take note of how many were found after so many steps, and of what became of the other candidates.

        `without_room` counts those that a pair does not take because it has `max_negatives` of its own and others.
        """

    def stop_requested(self) -> bool:
        """Whether the run should end; asked at every chunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What a run did; the weights are in the encoder it was given."""

    config: TrainConfig
    choice: Choice
    curve: tuple[StepRecord, ...]
    num_pairs: int
    """That were trained on."""
    trained_tokens: int
    temperature: float
    """At the end; learnt, or the config's."""
    best_step: int | None
    """After which the weights were taken, where the run was judged while it went on."""
    judgements: tuple[tuple[int, float], ...] = ()
    """Step and value of the metric that may end the run early, each time it was judged."""
    seconds: float
    """Of all attempts, evaluations not included."""

    @property
    def num_trained(self) -> int:
        """How many pairs the steps have seen, each as often as it came."""
        return round(self.curve[-1].epoch * self.num_pairs)


class Speed:
    """Pairs per second over the last 20 seconds: the first steps, which warm caches up, are soon forgotten."""

    def __init__(self) -> None:
        self._seen = [(time.perf_counter(), 0)]

    def add(self, pairs: int) -> None:
        now = time.perf_counter()
        self._seen.append((now, self._seen[-1][1] + pairs))
        while len(self._seen) > 2 and self._seen[1][0] < now - SPEED_WINDOW_SECONDS:
            self._seen.pop(0)

    @property
    def per_second(self) -> float:
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / max(last - first, 1e-9)
