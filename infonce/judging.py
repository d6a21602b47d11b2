"""How good a run is while it goes on: asked of the first process, told to all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from infonce.config import Precision, Side
from infonce.distributed import Processes
from infonce.early_stopping import EarlyStopping
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.evaluation import evaluate
from infonce.qrels import EvalSet
from infonce.records import Evaluate, Progress
from infonce.run_state import Judge


@dataclass(frozen=True, kw_only=True, slots=True)
class AsItIsNow:
    """A `TextEncoder` of an encoder whose weights change, so that no vector is worth keeping."""

    encoder: Encoder
    precision: Precision
    stop: Callable[[], bool]
    on_chunk: Callable[[int, int], None] = lambda done, total: None
    """Told how many of the texts that are asked for are embedded."""

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """The unit vectors of `texts` under the weights of this moment; (n, D)."""
        return self.encoder.encode(texts, side=side, precision=self.precision, stop=self.stop, on_chunk=self.on_chunk)

    def evaluation(self, judged: EvalSet, *, ks: Sequence[int]) -> Evaluate:
        """The encoder's numbers on that set, whenever they are asked for."""
        metrics = partial(evaluate, self, judged, ks=ks, stop=self.stop)
        return Evaluate(metrics=lambda step: metrics().metrics, digest=judged.digest)


def judge_of(
    rule: EarlyStopping,
    evaluate: Evaluate | None,
    *,
    processes: Processes,
    device: torch.device,
    progress: Progress,
) -> Judge:
    """The metric after so many steps, of which the first process tells the others.

    Raises:
        ConfigError: there is nothing to judge by.
    """
    if evaluate is None and processes.rank == 0:
        message = "early_stopping is set and nothing is held out to judge by; hold pairs out or leave it out"
        raise ConfigError(message, param="early_stopping")

    def judge(step: int) -> float:
        value = torch.zeros(1, dtype=torch.float64, device=device)
        if evaluate is not None and processes.rank == 0:
            metrics = evaluate.metrics(step)
            if rule.metric not in metrics:
                message = f"early_stopping.metric is {rule.metric!r}, which was not measured; known are"
                raise ConfigError(f"{message} {', '.join(metrics)}", param="early_stopping.metric")
            progress.judged(step, rule.metric, metrics=metrics)
            value += metrics[rule.metric]
        processes.sum(value)
        return value.item()

    return judge
