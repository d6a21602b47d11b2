"""Where the processes that train together meet: their order, the pairs, and what they have to say; knows no torch."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from infonce.config import AUTO, Auto, EncoderConfig, TrainConfig
from infonce.errors import ConfigError
from infonce.pairs import Pair

MAX_PROCESSES: Final = 64
"""More GPUs than that are in no machine; each process has a core of its own to feed it."""

_PAIRS: Final = "pairs.jsonl"
_CORPUS: Final = "corpus.jsonl"


def wanted_processes(param: str, value: str) -> int | Auto:
    """The number of processes that a user asked for in the setting `param`, or `auto`.

    Raises:
        ConfigError: it is neither.
    """
    if value == AUTO:
        return AUTO
    if not value.isdecimal() or not 1 <= int(value) <= MAX_PROCESSES:
        raise ConfigError(f"{param} is {value!r}; it must be 'auto', or between 1 and {MAX_PROCESSES}", param=param)
    return int(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class RankOrder:
    """What the other ranks give to `train`: the same as rank 0."""

    model: Path
    """The folder that rank 0's encoder was loaded from, with the config `encoder`."""
    encoder: EncoderConfig
    config: TrainConfig
    checkpoints: Sequence[Path] = ()
    """Rank 0's folder, then those that it inherits; read, never written."""
    corpus: Sequence[str] | None = None
    """Where hard negatives are looked for; not among the values of `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the inverse of `from_dict`."""
        return {
            "model": str(self.model.absolute()),
            "encoder": self.encoder.to_dict(),
            "config": self.config.to_dict(),
            "checkpoints": [str(folder.absolute()) for folder in self.checkpoints],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values."""
        return cls(
            model=Path(values["model"]),
            encoder=EncoderConfig.from_dict(values["encoder"]),
            config=TrainConfig.from_dict(values["config"]),
            checkpoints=[Path(folder) for folder in values["checkpoints"]],
        )


@dataclass(frozen=True, slots=True)
class Meeting:
    """The folder in which ranks find their order and each other, and leave word."""

    folder: Path

    @property
    def group(self) -> Path:
        """The file by which they become a group."""
        return self.folder / "group"

    def write(self, order: RankOrder, pairs: Sequence[Pair]) -> None:
        """The others can begin."""
        (self.folder / "order.json").write_text(json.dumps(order.to_dict()))
        if order.corpus is not None:
            _write(self.folder / _CORPUS, order.corpus)
        _write(self.folder / _PAIRS, ([pair.anchor, pair.positive, *pair.negatives] for pair in pairs))

    def read(self) -> tuple[RankOrder, list[Pair]]:
        """What was written."""
        order = RankOrder.from_dict(json.loads((self.folder / "order.json").read_text()))
        if (self.folder / _CORPUS).exists():
            order = replace(order, corpus=list(_read(self.folder / _CORPUS)))
        texts = _read(self.folder / _PAIRS)
        return order, [Pair(anchor, positive, tuple(rest)) for anchor, positive, *rest in texts]

    def ready(self, rank: int) -> Path:
        """Is there once that rank stands at the door of the group."""
        return self.folder / f"ready-{rank}"

    def said(self, rank: int) -> Path:
        """Holds why that rank ended."""
        return self.folder / f"said-{rank}"


def _write(path: Path, values: Iterable[Any]) -> None:
    with path.open("w") as lines:
        lines.writelines(json.dumps(value) + "\n" for value in values)


def _read(path: Path) -> Iterator[Any]:
    with path.open() as lines:
        yield from map(json.loads, lines)
