"""Every error that can end a job, as the sentence, code and class that its user reads.

What is not in the table is a fault of ours: it is retried as a loss, and its log's end becomes the message.
"""

import errno
import re
from typing import Final

from infonce.errors import (
    ConfigError,
    DatasetError,
    IndexCorrupt,
    IndexFault,
    InfonceError,
    InvalidModel,
    NonFiniteLoss,
    OutOfMemory,
    RankFailed,
    TrainingError,
    UnknownModel,
)
from service.store.errors import ArtifactCorrupt, InvalidValue, NotFound, StorageFull
from service.store.records import JobError

NAN_LOSS: Final = "nan_loss"
"""The code of a job whose loss left the numbers."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM: Final = "the disk that holds the artifacts is full; free some space and submit the job again"
_PATH: Final = re.compile(r"(?<![\w/])(?:/[\w.+@~-]+)+/(?=[\w.+@~-])")

_CODES: Final[tuple[tuple[type[Exception], str, bool], ...]] = (
    # the first class that fits wins; the flag says whether the user's input is the cause
    (NonFiniteLoss, NAN_LOSS, True),
    (OutOfMemory, "gpu_oom", True),
    (TrainingError, "training_failed", True),
    (DatasetError, "dataset_invalid", True),
    (ConfigError, "invalid_value", True),
    (UnknownModel, "unknown_base_model", True),
    (InvalidModel, "model_invalid", True),
    (IndexCorrupt, "artifact_corrupt", False),
    (IndexFault, "index_mismatch", True),
    (InfonceError, "failed", True),
    (NotFound, "not_found", True),
    (InvalidValue, "invalid_value", True),
    (ArtifactCorrupt, "artifact_corrupt", False),
)


def describe(error: BaseException) -> JobError | None:
    """What the user is told of `error`, or None if it is a fault of ours that another attempt may not meet."""
    if isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in _FULL):
        return JobError(code="storage_full", message=_NO_ROOM, retryable=True)
    if isinstance(error, RankFailed):  # lost like a child that is killed: another attempt goes on from the checkpoint
        return None
    for kind, code, user in _CODES:
        if isinstance(error, kind):
            line = error.issues[0].line if isinstance(error, DatasetError) else None
            param = error.param if isinstance(error, ConfigError) else None
            return JobError(code=code, message=without_paths(str(error)), param=param, line=line, user=user)
    return None


def without_paths(text: str) -> str:
    """`text` with the folders of absolute paths taken out, so that no user reads how a machine is laid out."""
    return _PATH.sub("", text)
