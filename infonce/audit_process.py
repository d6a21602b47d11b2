"""The other end of `audit_apart`: starts the process that audits or cleans a file, and hears what it says."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from infonce.apart import bare_environment
from infonce.dialects import FieldMapping
from infonce.errors import DatasetError, InfonceError, InvalidModel, Issue


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPairs:
    """A file of pairs, and how its fields are called."""

    path: Path
    mapping: FieldMapping | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"path": str(self.path), "mapping": None if self.mapping is None else self.mapping.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        mapping = values["mapping"]
        return cls(path=Path(values["path"]), mapping=None if mapping is None else FieldMapping.from_dict(mapping))


class AuditProcess:
    """At most one process at a time, which another thread may end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def audit(
        self,
        pairs: StoredPairs,
        *,
        held_out: StoredPairs | None,
        model: tuple[str, Path] | None,
        on_progress: Callable[[int], None],
    ) -> dict[str, Any]:
        """What `Audit.to_dict` says of the file; `on_progress` hears how many pairs were read.

        Raises:
            DatasetError, InvalidModel: as `audit_file` and `TokenCounter.of`.
            InfonceError: the process ended without a word.
        """
        order = {"pairs": pairs.to_dict(), "held_out": None if held_out is None else held_out.to_dict()}
        return self._said(
            order | {"model": None if model is None else [model[0], str(model[1])], "cleaned": None}, on_progress
        )

    def clean(self, pairs: StoredPairs, output: Path) -> None:
        """The cleaned file is there.

        Raises:
            DatasetError: as `clean_file`.
            InfonceError: the process ended without a word.
        """
        order = {"pairs": pairs.to_dict(), "held_out": None, "model": None, "cleaned": str(output)}
        self._said(order, lambda done: None)

    def end(self) -> None:
        """The process, if there is one, is told to end."""
        if (process := self._process) is not None:
            process.terminate()

    def _said(self, order: Mapping[str, Any], on_progress: Callable[[int], None]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self._running(order) as process:
            assert process.stdout is not None
            for line in process.stdout:
                found = json.loads(line)
                if "done" in found:
                    on_progress(int(found["done"]))
        if "issues" in found:
            raise DatasetError([Issue(**issue) for issue in found["issues"]], num_issues=found["num_issues"])
        if "invalid_model" in found:
            raise InvalidModel(str(found["invalid_model"]))
        if "result" not in found:
            code = process.returncode
            message = f"the audit ended with code {code} and without a word, most often for lack of memory"
            raise InfonceError(f"{message}; make memory free, or split the file")
        result: dict[str, Any] = found["result"]
        return result

    @contextmanager
    def _running(self, order: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "infonce.audit_apart", str(os.getpid()), json.dumps(order)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=bare_environment())
        self._process = process
        try:
            with process:
                yield process
        finally:
            self._process = None
