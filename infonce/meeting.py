"""Where the processes that train together meet: their order, the pairs, and what they have to say; knows no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from infonce.config import AUTO, Auto, EncoderConfig, TrainConfig
from infonce.errors import ConfigError
from infonce.pairs import Pair

MAX_PROCESSES: Final = 64
"""More GPUs than that are in no machine; each process has a core of its own to feed it."""


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
        with (self.folder / "pairs.jsonl").open("w") as lines:
            for pair in pairs:
                lines.write(json.dumps([pair.anchor, pair.positive, *pair.negatives]) + "\n")

    def read(self) -> tuple[RankOrder, list[Pair]]:
        """What was written."""
        order = RankOrder.from_dict(json.loads((self.folder / "order.json").read_text()))
        with (self.folder / "pairs.jsonl").open() as lines:
            texts = map(json.loads, lines)
            return order, [Pair(anchor, positive, tuple(rest)) for anchor, positive, *rest in texts]

    def ready(self, rank: int) -> Path:
        """Is there once that rank stands at the door of the group."""
        return self.folder / f"ready-{rank}"

    def said(self, rank: int) -> Path:
        """Holds why that rank ended."""
        return self.folder / f"said-{rank}"
