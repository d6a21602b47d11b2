"""Which member of the InfoNCE family a batch is judged by; knows no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal, Self

from infonce.errors import ConfigError
from infonce.limits import check_range, check_whole, known_keys, member

MIN_LEARNED_TEMPERATURE: Final = 0.01
"""CLIP's bound: logits of unit vectors beyond 100 left the numbers in its training (Radford et al. 2021, 2.5)."""

MAX_TEMPERATURE: Final = 10.0
"""Beyond it the candidates of unit vectors are all but equal: their shares differ by a factor of at most exp(0.2)."""


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
    """Prefixes that are trained as vectors of their own, beside the whole one (MRL, Kusupati et al. 2022)."""
    matryoshka_weights: tuple[float, ...] | None = None
    """What the loss of each of these prefixes weighs, in their order, where the whole weighs 1 unless it is listed
    too: the loss, and so its gradient, is Σ weight · loss / Σ weight. None is 1 for each."""
    num_views: int | None = None
    """NT-Xent instead: anchor and positive are two views of one thing, any further ones are the same texts under
    another dropout; everything else in the batch is a negative of every view."""
    queue_size: int = 0
    """How many documents of past batches are candidates too; each step copies the queue, MoCo's had 65,536."""
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
        check_range("temperature", self.temperature, low=low, high=MAX_TEMPERATURE, remedy="0.02 to 0.1 is usual")
        check_whole("queue_size", self.queue_size, low=0, high=131_072)
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
        for param, example in (("matryoshka_dims", [256, 128, 64]), ("matryoshka_weights", [1.0, 0.5, 0.5])):
            listed = getattr(self, param)
            if listed is not None and (isinstance(listed, str | bytes) or not isinstance(listed, Sequence)):
                raise ConfigError(f"{param} is {listed!r}; it must be a list such as {example}", param=param)
            object.__setattr__(self, param, None if listed is None else tuple(listed))

    def _check_dims(self) -> None:
        if self.matryoshka_dims is None:
            if self.matryoshka_weights is not None:
                message = f"matryoshka_weights is {list(self.matryoshka_weights)} and matryoshka_dims is not given"
                raise ConfigError(f"{message}; list the lengths that they are for", param="matryoshka_weights")
            return
        dims = self.matryoshka_dims
        for dim in dims:
            check_whole("matryoshka_dims", dim, low=1, high=65_536)
        if not dims or len(set(dims)) != len(dims):
            message = f"matryoshka_dims is {list(dims)}; it must list different lengths, such as [256, 128, 64]"
            raise ConfigError(message, param="matryoshka_dims")
        weights = self.matryoshka_weights
        if weights is None:
            return
        if len(weights) != len(dims):
            message = f"matryoshka_weights is {list(weights)}; it must have a number for each of matryoshka_dims"
            raise ConfigError(f"{message}, {list(dims)}", param="matryoshka_weights")
        for weight in weights:
            check_range("matryoshka_weights", weight, low=1e-6, high=1e6, remedy="the whole vectors weigh 1")

    def _check_together(self) -> None:
        shared = self.negatives is Negatives.SHARED
        if self.queue_size and not shared:
            raise _apart("queue_size", self.queue_size, other=f"negatives {self.negatives.value!r}, which has no queue")
        if self.momentum is not None and not self.queue_size:
            raise _apart("momentum", self.momentum, other="queue_size 0; give the slow encoder's vectors a queue")
        if self.tile_size != "auto" and not shared and not self.symmetric:
            other = f"negatives {self.negatives.value!r} in one direction, which has no matrix of the batch"
            raise _apart("tile_size", self.tile_size, other=other)
        if self.num_views is None:
            return
        if self.tile_size != "auto":
            other = f"num_views {self.num_views}; views hold their whole matrix"
            raise _apart("tile_size", self.tile_size, other=other)
        if not self.symmetric:
            raise _apart("num_views", self.num_views, other="symmetric false; views have no direction")
        if not shared or self.queue_size:
            raise _apart("num_views", self.num_views, other="hard negatives of their own or a queue; views have none")

    def of_a_batch(self) -> Self:
        """This config without the queue and the slow encoder, which a training run keeps and no batch knows of."""
        return replace(self, queue_size=0, momentum=None)

    def weights_of_prefixes(self, whole: int) -> dict[int, float]:
        """What the loss of each prefix weighs, by its length; vectors of length `whole` are their longest prefix."""
        dims = self.matryoshka_dims or ()
        return {whole: 1.0} | dict(zip(dims, self.matryoshka_weights or [1.0] * len(dims), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

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
