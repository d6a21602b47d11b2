"""When a run is judged while it goes on, and when it ends because it no longer gets better; knows no torch."""

import math
import re
from dataclasses import dataclass
from typing import Final

from infonce.errors import ConfigError
from infonce.limits import check_whole

NUM_EVALUATIONS: Final = 10
"""Of a run that goes to its end, evenly spaced, and one before its first step; an epoch would be too coarse."""

_METRIC: Final = re.compile(r"(ndcg|mrr|recall|map)@([1-9]\d{0,3})")


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyStopping:
    """A run ends when its metric has not risen for `patience` evaluations; its best state is what it leaves."""

    metric: str = "ndcg@10"
    patience: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or _METRIC.fullmatch(self.metric) is None:
            message = f"early_stopping.metric is {self.metric!r}; it must be ndcg, mrr, recall or map with a rank"
            raise ConfigError(f"{message}, such as ndcg@10", param="early_stopping.metric")
        check_whole("early_stopping.patience", self.patience, low=1, high=NUM_EVALUATIONS)

    @property
    def rank(self) -> int:
        """The k of the metric, to be among those that an evaluation measures."""
        return int(self.metric.split("@")[1])


def evaluation_is_due(step: int, total_steps: int) -> bool:
    """Whether a run is judged when it has made `step` of its steps."""
    every = math.ceil(total_steps / NUM_EVALUATIONS)
    return step % every == 0 or step == total_steps
