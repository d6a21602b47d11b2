"""Which member of the InfoNCE family a batch is judged by; knows no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Literal, Self

from infonce.errors import ConfigError
from infonce.limits import check_range, check_whole, known_keys, member

MIN_LEARNED_TEMPERATURE: Final = 0.01
"""CLIP's bound: logits of unit vectors beyond 100 left the numbers in its training (Radford et al. 2021, 2.5)."""


class Negatives(StrEnum):
    """What the hard negatives of a batch are candidates for, and whether its other positives are candidates too."""

    SHARED = "shared"
    """Every anchor against every positive and every hard negative of the batch."""
    PAIRED = "paired"
    """Every anchor against its own hard negatives alone."""
    UNPAIRED = "unpaired"
    """Every anchor against all hard negatives of the batch, and no other pair's positive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """The form of the loss; what cannot be combined is refused when built."""

    temperature: float = 0.05  # scale 20, sentence-transformers' default for this loss
    learn_temperature: bool = False
    symmetric: bool = True
    negatives: Negatives = Negatives.SHARED
    matryoshka_dims: tuple[int, ...] | None = None
    """Prefixes that are trained as vectors of their own, beside the whole one; their losses are averaged."""
    num_views: int | None = None
    """NT-Xent instead: anchor and positive are two views of one thing, any further ones are the same texts under
    another dropout; everything else in the batch is a negative of every view."""
    queue_size: int = 0
    """How many documents of past batches are candidates too."""
    momentum: float | None = None
    """Candidates and queue come from a slow copy of the encoder that keeps this share of itself at each step."""
    tile_size: int | Literal["auto"] = "auto"
    """Side of the square of logits that is in memory at once; 0 holds the whole matrix, auto decides by its size."""

    def __post_init__(self) -> None:
        self._settle()
        for param in ("learn_temperature", "symmetric"):
            if not isinstance(value := getattr(self, param), bool):
                raise ConfigError(f"{param} is {value!r}; it must be true or false", param=param)
        low = MIN_LEARNED_TEMPERATURE if self.learn_temperature else 0.005
        check_range("temperature", self.temperature, low=low, high=10.0, remedy="0.02 to 0.1 is usual")
        check_whole("queue_size", self.queue_size, low=0, high=1_000_000)
        if self.momentum is not None:
            check_range("momentum", self.momentum, low=0.0, high=0.99999, remedy="0.99 to 0.999 is usual")
        if self.num_views is not None:
            check_whole("num_views", self.num_views, low=2, high=16)
        if self.tile_size != "auto":
            check_whole("tile_size", self.tile_size, low=0, high=65_536)
        self._check_dims()
        self._check_together()

    def _settle(self) -> None:
        """The fields that may come as JSON values have their types: a name that is equal to a member is not it."""
        object.__setattr__(self, "negatives", member(Negatives, "negatives", value=self.negatives))
        dims = self.matryoshka_dims
        if isinstance(dims, int | str):
            raise ConfigError(
                f"matryoshka_dims is {dims!r}; it must be a list such as [256, 128, 64]", param="matryoshka_dims"
            )
        object.__setattr__(self, "matryoshka_dims", None if dims is None else tuple(dims))

    def _check_dims(self) -> None:
        if self.matryoshka_dims is None:
            return
        dims = self.matryoshka_dims
        for dim in dims:
            check_whole("matryoshka_dims", dim, low=1, high=65_536)
        if not dims or len(set(dims)) != len(dims):
            message = f"matryoshka_dims is {list(dims)}; it must list different lengths, such as [256, 128, 64]"
            raise ConfigError(message, param="matryoshka_dims")

    def _check_together(self) -> None:
        shared = self.negatives is Negatives.SHARED
        if self.queue_size and not shared:
            raise _apart("queue_size", self.queue_size, other=f"negatives {self.negatives.value!r}, which has no queue")
        if self.momentum is not None and not self.queue_size:
            raise _apart("momentum", self.momentum, other="queue_size 0; give the slow encoder's vectors a queue")
        if self.num_views is None:
            return
        if not self.symmetric:
            raise _apart("num_views", self.num_views, other="symmetric false; views have no direction")
        if not shared or self.queue_size:
            raise _apart("num_views", self.num_views, other="hard negatives of their own or a queue; views have none")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        values = asdict(self)
        return values | {"matryoshka_dims": None if self.matryoshka_dims is None else list(self.matryoshka_dims)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values.

        Raises:
            ConfigError: an unknown key, or a value outside its limits.
        """
        known_keys(cls, values)
        return cls(**values)


def _apart(param: str, value: object, *, other: str) -> ConfigError:
    return ConfigError(f"{param} is {value!r} and cannot be used with {other}; set one of the two back", param=param)
