"""Every error that the library raises on purpose.

InfonceError
├── ConfigError            a setting is outside its limits (a ValueError too)
│   └── TooFewPairs        for two pairs, or for one batch of them
├── LossInputError         tensors that do not belong together were given to a loss (a ValueError too)
├── DatasetError           a file of pairs or judgements is broken; carries line-numbered issues
├── ModelError
│   ├── UnknownModel       no folder is known by that name
│   └── InvalidModel       the folder is not a model that can be trusted
│       ├── ForbiddenFile  something is in it that no model needs
│       └── UnsafeModel    it asks for code of its own to be run
├── IndexFault
│   ├── IndexMismatch      index, query and encoder do not belong together
│   └── IndexCorrupt       the files are not those that were written
├── InvalidCollection      a file is no exported collection that can be trusted
├── TrainingError
│   ├── NonFiniteLoss      the loss left the numbers
│   ├── CheckpointMismatch a checkpoint belongs to another run
│   ├── OutOfMemory        the device has no memory for a step
│   └── RankFailed         another one of the processes that train together is gone
└── Stopped                the caller asked to stop; nothing is wrong
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_LISTED_ISSUES = 20
"""How many issues an error names; the rest is counted."""


class InfonceError(Exception):
    """The root of the library's errors; `str(error)` is one sentence for the user."""


class ConfigError(InfonceError, ValueError):
    """A setting is outside its limits; `param` is its dotted name."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class TooFewPairs(ConfigError):
    """There are fewer pairs than two, or than a batch is to have."""


class LossInputError(InfonceError, ValueError):
    """Tensors that do not belong together were given to a loss; `str(error)` has their shapes and the expected ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Issue:
    """One broken place in a file: where it is, what kind it is, and a sentence about it."""

    line: int | None
    field: str | None
    code: str
    detail: str


class DatasetError(InfonceError):
    """A file of pairs or judgements is broken; `issues` holds at most 20 places, `num_issues` counts all."""

    def __init__(self, issues: Sequence[Issue], *, num_issues: int | None = None) -> None:
        self.issues = tuple(issues[:MAX_LISTED_ISSUES])
        self.num_issues = len(issues) if num_issues is None else num_issues
        first = self.issues[0]
        where = f"Line {first.line}: " if first.line is not None else ""
        more = f" (and {self.num_issues - 1} more)" if self.num_issues > 1 else ""
        super().__init__(f"{where}{first.detail}{more}")


class ModelError(InfonceError):
    """Something is wrong with a model's name or folder."""


class UnknownModel(ModelError):
    """No folder is known by that name; the message lists the known ones."""


class InvalidModel(ModelError):
    """The folder does not hold a model that can be trusted."""


class ForbiddenFile(InvalidModel):
    """Something is in the folder that no model needs: a pickle, code, a link, a path that leads out of it."""


class UnsafeModel(InvalidModel):
    """The folder asks for code of its own to be run when it is loaded."""


class IndexFault(InfonceError):
    """Something is wrong with an index."""


class IndexMismatch(IndexFault):
    """Index, query and encoder do not belong together."""


class IndexCorrupt(IndexFault):
    """The files of an index are not those that were written."""


class InvalidCollection(InfonceError):
    """A file is no exported collection, or not the one that was exported."""


class TrainingError(InfonceError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite; `step` is where."""

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step


class CheckpointMismatch(TrainingError):
    """A checkpoint was written by a run over other data, or with another config or model."""


class OutOfMemory(TrainingError):
    """The device has no memory for a step; the message names what to lower."""


class RankFailed(TrainingError):
    """Another one of the processes that train together ended before the training did; `rank` is which, from 1."""

    def __init__(self, message: str, *, rank: int) -> None:
        super().__init__(message)
        self.rank = rank


class Stopped(InfonceError):
    """The caller asked to stop and the work was dropped at a chunk's edge."""
