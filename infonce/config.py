"""The settings of the library, validated when built; knows no torch.

`"auto"` is allowed where the best value depends on the data or the machine. `TrainConfig.resolve` replaces the
autos that depend on the number of pairs; `precision` and `attention` are measured where the training runs.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, Self

from infonce.auto import auto_batch, auto_epochs, auto_rate
from infonce.early_stopping import EarlyStopping
from infonce.errors import ConfigError, TooFewPairs
from infonce.limits import check_range, check_whole, known_keys, member
from infonce.lora_config import LoraConfig
from infonce.loss_config import LossConfig, Negatives
from infonce.mining_config import MiningConfig

Auto = Literal["auto"]
AUTO: Final = "auto"
MAX_LEARNING_RATE: Final = 0.1
DEFAULT_MAX_SEQ_LENGTH: Final = 256
"""What a training job reads of a text unless told, or fewer where the model has fewer."""

MAX_VIEWS: Final = 16_384
"""Of a batch: their loss holds a matrix of the square of it, 1 GB in float32 here, and its gradient as well."""

MAX_UNPAIRED_LOGITS: Final = 2**28
"""Of a batch: every anchor against every pair's hard negatives, held at once, 1 GB in float32 here."""


class Precision(StrEnum):
    """What the matrix products are computed in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BF16 = "bf16"
    INT8 = "int8"  # of encoding alone, and on a CPU

    @classmethod
    def for_serving(cls, env: Mapping[str, str], *, default: str) -> Self:
        """Read `INFONCE_SERVING_PRECISION`.

        Raises:
            ConfigError: it is something else.
        """
        name = "INFONCE_SERVING_PRECISION"
        return member(cls, name, value=env.get(name) or default)


class Pooling(StrEnum):
    """How token states become one vector."""

    AUTO = "auto"
    CLS = "cls"
    MEAN = "mean"
    LAST = "last"


class Attention(StrEnum):
    """Which attention kernel the backbone runs."""

    AUTO = "auto"
    FUSED = "sdpa"
    PLAIN = "eager"


class Side(StrEnum):
    """On which side of a comparison a text stands."""

    QUERY = "query"
    DOCUMENT = "document"


class HardNegatives(StrEnum):
    """Whether the negatives that pairs bring are used."""

    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """What is put before a text, by the side on which it stands."""

    query: str = ""
    document: str = ""

    def __post_init__(self) -> None:
        for side in ("query", "document"):
            if len(getattr(self, side)) > 2_000:
                raise ConfigError(f"prompts.{side} is longer than 2000 characters", param=f"prompts.{side}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """What a caller may decide about an encoder; `None` keeps what the model's folder says."""

    pooling: Pooling = Pooling.AUTO
    max_seq_length: int | None = None
    prompts: Prompts | None = None
    device: str = "auto"  # a GPU where torch sees one, else the CPU

    def __post_init__(self) -> None:
        if self.max_seq_length is not None:
            check_whole("max_seq_length", self.max_seq_length, low=4, high=32_768)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values.

        Raises:
            ConfigError: an unknown key, or a value outside its limits.
        """
        known_keys(cls, values)
        typed = _with_members(values)
        if (prompts := values.get("prompts")) is not None:
            known_keys(Prompts, prompts, where="prompts.")
            typed["prompts"] = Prompts(**prompts)
        return cls(**typed)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the weights, beside the encoder and the pairs."""

    n_epochs: int | Auto = AUTO
    batch_size: int | Auto = AUTO
    learning_rate: float | Auto = AUTO
    warmup_ratio: float = 0.1  # of all steps, linear; then linear decay to 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    loss: LossConfig = field(default_factory=LossConfig)
    precision: Precision = Precision.AUTO
    attention: Attention = Attention.AUTO
    max_chunk_tokens: int | Auto = AUTO
    max_graph_gb: float | Auto = AUTO  # what the graphs of a batch may take; chunks beyond it are encoded twice
    dropout: float | Auto = AUTO
    deterministic: bool = True
    hard_negatives: HardNegatives = HardNegatives.ALL
    max_negatives: int = 7
    lora: LoraConfig | None = None
    early_stopping: EarlyStopping | None = None
    mine: MiningConfig | None = None  # hard negatives, beside those that the pairs bring
    mine_every_epochs: int | None = None  # again with the model as it is then; None is once, before the first step
    seed: int = 42

    def __post_init__(self) -> None:
        if self.precision is Precision.INT8:
            message = "precision is 'int8', which has no gradient; train in auto, float32 or bf16 and serve in int8"
            raise ConfigError(message, param="precision")
        self._check_sizes()
        if self.learning_rate != AUTO:
            remedy = "2e-5 to 1e-4 suits a full fine-tune"
            check_range("learning_rate", self.learning_rate, low=1e-8, high=MAX_LEARNING_RATE, remedy=remedy)
        if self.dropout != AUTO:
            check_range("dropout", self.dropout, low=0.0, high=0.9)
        check_range("warmup_ratio", self.warmup_ratio, low=0.0, high=1.0)
        check_range("weight_decay", self.weight_decay, low=0.0, high=1.0)
        check_range("max_grad_norm", self.max_grad_norm, low=1e-6, high=1e6)
        self._check_with_loss()
        self._check_mining()

    def _check_sizes(self) -> None:
        if self.n_epochs != AUTO:
            check_whole("n_epochs", self.n_epochs, low=1, high=1_000)
        if self.batch_size != AUTO:
            check_whole(
                "batch_size", self.batch_size, low=2, high=65_536, remedy="one pair alone has no in-batch negative"
            )
        if self.max_chunk_tokens != AUTO:
            check_whole("max_chunk_tokens", self.max_chunk_tokens, low=16, high=10_000_000)
        if self.max_graph_gb != AUTO:
            check_range("max_graph_gb", self.max_graph_gb, low=0.0, high=100_000.0)
        check_whole("max_negatives", self.max_negatives, low=0, high=1_000)
        check_whole("seed", self.seed, low=0, high=2**53)

    def _check_with_loss(self) -> None:
        """Raise `ConfigError` where the loss needs what another setting takes away."""
        negatives, num_views = self.loss.negatives, self.loss.num_views
        if negatives is not Negatives.SHARED:
            needed = f"and negatives is {negatives.value!r}, where they are all the candidates there are"
            if self.hard_negatives is HardNegatives.NONE:
                message = f"hard_negatives is 'none' {needed}; set it to 'all' or negatives to 'shared'"
                raise ConfigError(message, param="hard_negatives")
            if self.max_negatives == 0:
                message = f"max_negatives is 0 {needed}; raise it or set negatives to 'shared'"
                raise ConfigError(message, param="max_negatives")
        if num_views is not None and num_views > 2 and self.dropout == 0.0:
            message = f"dropout is 0.0, which auto is too, and num_views is {num_views}, where only dropout tells views"
            raise ConfigError(f"{message} of one text apart; set dropout to 0.1 or num_views to 2", param="dropout")
        if self.batch_size != AUTO:
            self._check_matrix(self.batch_size)

    def _check_mining(self) -> None:
        """Raise `ConfigError` where negatives would be looked for that nobody uses."""
        if self.mine is None:
            if self.mine_every_epochs is not None:
                message = f"mine_every_epochs is {self.mine_every_epochs} and mine is not set; set it, such as to {{}}"
                raise ConfigError(message, param="mine_every_epochs")
            return
        if self.mine_every_epochs is not None:
            check_whole("mine_every_epochs", self.mine_every_epochs, low=1, high=1_000)
        unused = {"hard_negatives is 'none'": self.hard_negatives is HardNegatives.NONE}
        unused |= {"max_negatives is 0": self.max_negatives == 0}
        unused |= {
            f"num_views is {self.loss.num_views}, where no hard negative counts": self.loss.num_views is not None
        }
        for why in (why for why, true in unused.items() if true):
            raise ConfigError(f"mine is set and {why}; leave one of them out", param="mine")

    def _check_matrix(self, size: int) -> None:
        """Raise `ConfigError` where a loss that holds its whole matrix would hold more than a machine has."""
        num_views = self.loss.num_views
        if num_views is not None and num_views * size > MAX_VIEWS:
            message = f"batch_size is {size} and num_views is {num_views}, which makes {num_views * size} views"
            remedy = f"at most {MAX_VIEWS} fit a batch; lower batch_size to {MAX_VIEWS // num_views}"
            raise ConfigError(f"{message}; {remedy}", param="batch_size")
        num_logits = size * size * self.max_negatives
        if self.loss.negatives is Negatives.UNPAIRED and num_logits > MAX_UNPAIRED_LOGITS:
            message = f"batch_size is {size}, max_negatives is {self.max_negatives} and negatives is 'unpaired', which"
            limit = f"makes {num_logits} logits; at most {MAX_UNPAIRED_LOGITS} fit a batch"
            remedy = f"lower batch_size to {math.isqrt(MAX_UNPAIRED_LOGITS // self.max_negatives)}"
            raise ConfigError(f"{message} {limit}; {remedy} or set negatives to 'shared'", param="batch_size")

    def resolve(self, num_pairs: int, *, width: int | None) -> Self:
        """This config with every `auto` that the pairs and the width of the model's vectors decide made a number.

        Raises:
            TooFewPairs: there are fewer than two pairs, or fewer than one batch.
            ConfigError: there is no dropout to tell views apart.
        """
        if num_pairs < 2:
            message = f"there are {num_pairs} training pairs; at least 2 are needed, some hundreds to learn from"
            raise TooFewPairs(message, param="training_file")
        if self.batch_size != AUTO and self.batch_size > num_pairs:
            message = f"batch_size is {self.batch_size} and there are {num_pairs} pairs; lower it or bring more pairs"
            raise TooFewPairs(message, param="batch_size")
        return replace(
            self,
            n_epochs=auto_epochs(num_pairs) if self.n_epochs == AUTO else self.n_epochs,
            batch_size=auto_batch(num_pairs) if self.batch_size == AUTO else self.batch_size,
            learning_rate=auto_rate(width, self.lora) if self.learning_rate == AUTO else self.learning_rate,
            dropout=0.0 if self.dropout == AUTO else self.dropout,
        )

    def num_steps(self, num_pairs: int) -> int:
        """How many optimizer steps a run over `num_pairs` pairs takes; the config must be resolved."""
        assert isinstance(self.n_epochs, int) and isinstance(self.batch_size, int), "resolve the config first"
        return self.n_epochs * math.ceil(num_pairs / self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        mine = None if self.mine is None else self.mine.to_dict()
        return {**asdict(self), "loss": self.loss.to_dict(), "mine": mine}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values.

        Raises:
            ConfigError: an unknown key, or a value outside its limits.
        """
        known_keys(cls, values)
        typed = _with_members(values)
        for name in _PARTS.keys() & values.keys():
            part = values[name]
            if isinstance(part, Mapping):
                known_keys(_PARTS[name], part, where="" if name == "loss" else f"{name}.")
                typed[name] = _PARTS[name](**part)
            elif part is not None or name == "loss":
                raise ConfigError(f"{name} is {part!r}; it must be an object of settings, such as {{}}", param=name)
        return cls(**typed)


_PARTS: dict[str, type[LossConfig | LoraConfig | EarlyStopping | MiningConfig]] = {
    "loss": LossConfig,
    "lora": LoraConfig,
    "early_stopping": EarlyStopping,
    "mine": MiningConfig,
}

_ENUMS: dict[str, type[StrEnum]] = {
    "precision": Precision,
    "attention": Attention,
    "hard_negatives": HardNegatives,
    "pooling": Pooling,
}


def _with_members(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: member(_ENUMS[name], name, value=value) if name in _ENUMS else value for name, value in values.items()
    }
