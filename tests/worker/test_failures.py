"""Every error that can end a job is a sentence with a code; what is not in the table is retried."""

import errno

import pytest

from infonce.errors import (
    ConfigError,
    DatasetError,
    IndexCorrupt,
    InvalidModel,
    Issue,
    NonFiniteLoss,
    OutOfMemory,
    UnknownModel,
)
from service.store.errors import NotFound, StorageFull
from worker.failures import describe, without_paths

ISSUE = Issue(line=18, field="positive", code="empty_text", detail="'positive' is empty")


@pytest.mark.parametrize(
    ("error", "code", "user", "retryable"),
    [
        (NonFiniteLoss("nan", step=3), "nan_loss", True, False),
        (OutOfMemory("lower batch_size"), "gpu_oom", True, False),
        (DatasetError([ISSUE]), "dataset_invalid", True, False),
        (ConfigError("too large", param="batch_size"), "invalid_value", True, False),
        (UnknownModel("?"), "unknown_base_model", True, False),
        (InvalidModel("?"), "model_invalid", True, False),
        (IndexCorrupt("?"), "artifact_corrupt", False, False),
        (NotFound("file", "file-1"), "not_found", True, False),
        (StorageFull("full"), "storage_full", False, True),
        (OSError(errno.ENOSPC, "No space left on device"), "storage_full", False, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_known_errors_have_a_code(error: Exception, code: str, user: bool, retryable: bool) -> None:
    reason = describe(error)
    assert reason is not None
    assert (reason.code, reason.user, reason.retryable) == (code, user, retryable)


def test_line_and_param_are_kept() -> None:
    broken, wrong = describe(DatasetError([ISSUE])), describe(ConfigError("too large", param="batch_size"))
    assert broken is not None and broken.line == 18
    assert wrong is not None and wrong.param == "batch_size"


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError(), OSError(errno.EIO, "I/O error"), KeyError("x")])
def test_our_own_faults_are_not_blamed_on_anybody(error: Exception) -> None:
    assert describe(error) is None


def test_folders_of_the_machine_are_taken_out_of_a_text() -> None:
    text = 'File "/home/me/.venv/lib/python3.11/site-packages/torch/nn.py", line 3; see https://pytorch.org/docs/x'
    assert without_paths(text) == 'File "nn.py", line 3; see https://pytorch.org/docs/x'
