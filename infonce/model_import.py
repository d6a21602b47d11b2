"""A stranger's tar becomes a model's folder, in a process of its own that proves it; torch is loaded there, not here.

`infonce.model_apart` is that process.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infonce.apart import bare_environment
from infonce.errors import ForbiddenFile, InvalidModel, UnsafeModel

_SECONDS: Final = 900.0  # a gigabyte of weights is loaded and hashed in less than a minute
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_ERRORS: Final = {kind.__name__: kind for kind in (ForbiddenFile, UnsafeModel, InvalidModel)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedModel:
    """A model that was loaded and has embedded a text."""

    dimensions: int
    max_tokens: int
    fingerprint: str


def import_model(tar: Path, folder: Path) -> ImportedModel:
    """The folder, which is not there yet, holds the model of the tar; of one that is refused something may be left.

    Raises:
        ForbiddenFile, UnsafeModel, InvalidModel: the tar holds no model that can be trusted.
        OSError: there is no room.
    """
    command = [sys.executable, "-m", "infonce.model_apart", str(os.getpid()), str(tar), str(folder)]
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        ended = subprocess.run(command, env=bare_environment() | _OFFLINE, timeout=_SECONDS, **given)
    except subprocess.TimeoutExpired:
        raise InvalidModel(f"the model could not be loaded within {_SECONDS:.0f} s; bring a smaller one") from None
    said: dict[str, Any] = json.loads(ended.stdout) if ended.returncode == 0 else {}
    if "model" in said:
        return ImportedModel(**said["model"])
    if "errno" in said:
        raise OSError(said["errno"], os.strerror(said["errno"]))
    if "error" in said:
        raise _ERRORS[said["error"]](said["message"])
    message = f"loading the model ended with code {ended.returncode} and without a word, most often for lack of memory"
    raise InvalidModel(f"{message}; bring a smaller model, or save it anew with save_pretrained")
