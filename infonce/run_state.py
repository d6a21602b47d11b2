"""What the steps of a run change: weights and objective, the optimizer, and the best weights that were found so far."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from infonce.early_stopping import EarlyStopping, evaluation_is_due
from infonce.objective import Objective

Tensors = Mapping[str, Tensor]
Judge = Callable[[int], float]
"""What the metric is after so many steps, the same in all processes of a run."""


class Part(Protocol):
    """What else the next steps depend on."""

    def tensors(self) -> dict[str, Tensor]:
        """What a run that goes on has to know."""

    def load(self, tensors: Tensors) -> None:
        """It is what it was when these tensors were taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """What decides the next vectors and the next loss."""

    backbone: nn.Module
    objective: Objective

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name, copied."""
        found = {f"weights/{name}": tensor for name, tensor in self.backbone.state_dict().items()}
        found |= {f"objective/{name}": tensor for name, tensor in self.objective.state_dict().items()}
        return _copied(found)

    def load(self, tensors: Tensors) -> None:
        """It is what it was when these tensors were taken."""
        self.backbone.load_state_dict(_below(tensors, "weights/"))
        self.objective.load_state_dict(_below(tensors, "objective/"))


class BestState:
    """The state in which the metric was highest, and for how many evaluations it has not risen since."""

    def __init__(self, rule: EarlyStopping, judge: Judge, *, model: ModelState, total_steps: int) -> None:
        self._rule = rule
        self._judge = judge
        self._model = model
        self._total_steps = total_steps
        self._judged_step = -1
        self._waited = 0
        self._tensors: dict[str, Tensor] = {}
        self.value = -math.inf
        self.step = 0
        self.history: list[tuple[int, float]] = []
        """Step and value of every evaluation, those of earlier attempts included."""
        self.seconds = 0.0
        """That evaluations took, in this attempt."""

    def heed(self, step: int, *, is_last: bool = False) -> None:
        """If the run is to be judged after so many steps, it has been; it is after its last one, however early."""
        due = is_last or evaluation_is_due(step, self._total_steps)
        if step <= self._judged_step or self.exhausted or not due:
            return
        began = time.perf_counter()
        value = self._judge(step)
        self.seconds += time.perf_counter() - began
        self.history.append((step, value))
        self._judged_step, self._waited = step, self._waited + 1
        if value > self.value:
            self.value, self.step, self._waited = value, step, 0
            self._tensors = self._model.tensors()

    @property
    def exhausted(self) -> bool:
        """Whether the metric has not risen for as many evaluations as it may."""
        return self._waited >= self._rule.patience

    def restore(self) -> None:
        """Weights, queue, slow encoder and temperature are those of the best evaluation."""
        self._model.load(self._tensors)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a run which goes on has to know."""
        numbers = [self.value, float(self.step), float(self._judged_step), float(self._waited)]
        own = {"numbers": numbers, "history": [number for judgement in self.history for number in judgement]}
        return {**self._tensors, **{name: torch.tensor(value, dtype=torch.float64) for name, value in own.items()}}

    def load(self, tensors: Tensors) -> None:
        """It is what it was when these tensors were taken."""
        self._tensors = {name: tensor for name, tensor in tensors.items() if name not in ("numbers", "history")}
        self.value, step, judged_step, waited = tensors["numbers"].tolist()
        self.step, self._judged_step, self._waited = int(step), int(judged_step), int(waited)
        told = tensors["history"].reshape(-1, 2).tolist() if "history" in tensors else []  # none in older checkpoints
        self.history = [(int(step), value) for step, value in told]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """All that a checkpoint keeps of a run."""

    model: ModelState
    optimizer: torch.optim.Optimizer
    best: BestState | None = None
    negatives: Part | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by a name, copied."""
        found: dict[str, Tensor] = {}
        for number, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{number}/{name}": tensor for name, tensor in state.items()}
        if self.best is not None:
            found |= {f"best/{name}": tensor for name, tensor in self.best.tensors().items()}
        if self.negatives is not None:
            found |= {f"negatives/{name}": tensor for name, tensor in self.negatives.tensors().items()}
        return {**self.model.tensors(), **_copied(found)}

    def load(self, tensors: Tensors) -> None:
        """The run is where it was when these tensors were taken."""
        self.model.load(tensors)
        optimizer = self.optimizer.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, "optimizer/").items():
            number, key = name.split("/", 1)
            states.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({**optimizer, "state": states})
        if self.best is not None:
            self.best.load(_below(tensors, "best/"))
        if self.negatives is not None:
            self.negatives.load(_below(tensors, "negatives/"))


def _copied(tensors: Tensors) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _below(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
