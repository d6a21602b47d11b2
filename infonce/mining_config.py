"""How hard negatives are looked for; knows no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Self

from infonce.errors import ConfigError
from infonce.limits import check_range, check_whole, known_keys, member

MAX_RANK: Final = 10_000
"""Beyond it a document has little to do with the query, and the ranks of all queries no longer fit into memory."""


class Retriever(StrEnum):
    """Who says which documents look like an answer."""

    DENSE = "dense"
    BM25 = "bm25"
    BOTH = "both"


class Sampling(StrEnum):
    """Which of the documents that passed are taken."""

    TOP = "top"
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class MiningConfig:
    """Which documents may become hard negatives of a query, and how many of them do.

    Whoever retrieves, a score is the model's similarity of query and document: that is what margins and `max_score`
    are measured in.
    """

    per_query: int = 5
    range: tuple[int, int] = (10, 100)
    """The first so many ranks are skipped, as likely to hold answers that nobody marked; the last rank looked at."""
    relative_margin: float | None = 0.05
    """A negative scores below the positive's score less this share of it (NV-Retriever's TopK-PercPos, Moreira et
    al. 2024, arXiv 2407.15831, where 95 % of the positive did best)."""
    absolute_margin: float | None = None
    """A negative scores below the positive's score less this (TopK-MarginPos of the same paper)."""
    max_score: float | None = None
    retriever: Retriever = Retriever.DENSE
    sampling: Sampling = Sampling.TOP
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "retriever", member(Retriever, "retriever", value=self.retriever))
        object.__setattr__(self, "sampling", member(Sampling, "sampling", value=self.sampling))
        check_whole("per_query", self.per_query, low=1, high=100, remedy="1 to 10 is usual")
        self._check_window()
        if self.relative_margin is not None:
            check_range("relative_margin", self.relative_margin, low=0.0, high=1.0, remedy="0.05 is usual")
        if self.absolute_margin is not None:
            check_range("absolute_margin", self.absolute_margin, low=0.0, high=2.0, remedy="0.05 to 0.2 is usual")
        if self.max_score is not None:
            check_range("max_score", self.max_score, low=-1.0, high=1.0)
        check_whole("seed", self.seed, low=0, high=2**53)

    def _check_window(self) -> None:
        """`range` is two whole numbers, a list of JSON among them, with room for what is wanted."""
        window: object = self.range
        if isinstance(window, str | bytes) or not isinstance(window, Sequence) or len(window) != 2:
            message = (
                f"range is {window!r}; it must be the ranks to skip and the last one to look at, such as [10, 100]"
            )
            raise ConfigError(message, param="range")
        first, last = window
        check_whole("range", first, low=0, high=MAX_RANK - 1)
        check_whole("range", last, low=1, high=MAX_RANK)
        if last - first < self.per_query:
            message = f"range is [{first}, {last}], which holds {max(0, last - first)} ranks, and per_query is"
            raise ConfigError(f"{message} {self.per_query}; widen range or lower per_query", param="range")
        object.__setattr__(self, "range", (first, last))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        values = asdict(self) | {"range": list(self.range)}
        return values | {"retriever": self.retriever.value, "sampling": self.sampling.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values.

        Raises:
            ConfigError: an unknown key, or a value outside its limits.
        """
        known_keys(cls, values)
        return cls(**values)


def check_foreseen(mine: MiningConfig | None) -> None:
    """Raise `ConfigError` where negatives are to be looked for in a run that is to be estimated."""
    if mine is not None:
        message = "mine is set, and what that takes is known only once negatives have been looked for; leave it out of"
        raise ConfigError(f"{message} the estimate, and count with one more evaluation for each time", param="mine")


def check_read(mine: MiningConfig | None, *, has_corpus: bool) -> None:
    """Raise `ConfigError` where nobody would read the corpus."""
    if has_corpus and mine is None:
        message = "a corpus is given and mine is not set, so that nothing is looked for in it"
        raise ConfigError(f"{message}; set mine, such as to {{}}, or leave corpus out", param="corpus")
