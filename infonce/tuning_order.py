"""What is to be trained on what, as `infonce train` and `infonce estimate` are told, and what is read for it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from infonce.cleaning import without_copies
from infonce.config import AUTO, DEFAULT_MAX_SEQ_LENGTH, Auto, EncoderConfig, TrainConfig
from infonce.dialects import FieldMapping
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.formats import read_pairs
from infonce.layout import read_layout
from infonce.mining_config import check_read
from infonce.pairs import Pair
from infonce.qrels import EvalSet
from infonce.records import Progress
from infonce.split import held_out

KS: Final = (1, 5, 10)


class Watch(Progress, Protocol):
    """A `Progress` that hears of the parts of the work as well."""

    def phase(self, name: str) -> None:
        """This part begins."""

    def left_out(self, copies: int, own_answers: int) -> None:
        """So many pairs are trained on once instead of again, or not at all, for their positive is their query."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be trained on what, and where the model goes."""

    pairs: Path
    model: Path
    """The folder of the base model."""
    output: Path
    config: TrainConfig
    encoder: EncoderConfig
    held_out: float
    """The share of pairs that is kept out of the training to judge by; 0 for none."""
    save_every_seconds: float = 120.0
    processes: int | Auto = AUTO
    """That train together; auto is one for each GPU, and one without a GPU."""
    model_name: str | None = None
    """What report and card call the base model; its folder's name without it."""
    mapping: FieldMapping | None = None
    """What the fields of the pairs hold; found from their names without it."""
    corpus: Path | None = None
    """Documents among which hard negatives are looked for; the pairs' own texts without it."""


def check_used(order: Order) -> None:
    """Raise `ConfigError` if early stopping would have nothing to judge by, or if nobody would read the corpus."""
    check_read(order.config.mine, has_corpus=order.corpus is not None)
    if order.config.early_stopping is not None and not order.held_out:
        message = "early_stopping is set and held_out is 0, so that nothing is held out to judge by"
        raise ConfigError(f"{message}; raise held_out, or leave early_stopping out", param="early_stopping")


def load(order: Order) -> Encoder:
    """The base model, which reads as much of a text as the order says, or as is usual."""
    length = order.encoder.max_seq_length or min(DEFAULT_MAX_SEQ_LENGTH, read_layout(order.model).max_seq_length)
    return Encoder.load(order.model, replace(order.encoder, max_seq_length=length))


def split(order: Order, watch: Watch) -> tuple[list[Pair], EvalSet | None, dict[str, int]]:
    """The pairs to train on, what is judged by, and how many pairs are neither, as in a job."""
    pairs, dropped = without_copies(read_pairs(order.pairs, mapping=order.mapping))
    if any(dropped.values()):
        watch.left_out(dropped["duplicate_pair"], dropped["query_equals_positive"])
    if order.held_out == 0:
        return pairs, None, dropped
    return *held_out(pairs, order.held_out, seed=order.config.seed), dropped


def metric_ranks(config: TrainConfig) -> list[int]:
    """The ranks of the metrics, that of early stopping among them."""
    return sorted({*KS} if config.early_stopping is None else {*KS, config.early_stopping.rank})
