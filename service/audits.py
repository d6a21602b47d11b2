"""Audits of uploads: made once, in a process beside the gateway, and kept; whoever asks meanwhile hears how far it is."""

import hashlib
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any, Final

from infonce.audit import VERSION
from infonce.audit_apart import AuditProcess, StoredPairs
from infonce.dialects import FieldMapping
from infonce.errors import DatasetError, InfonceError, InvalidModel
from infonce.hub import FoundModel
from service.errors import Unavailable
from service.store.artifacts import Artifacts
from service.store.audit_files import read_audit, write_audit
from service.store.records import FileRecord

WAIT_SECONDS: Final = 5.0
"""How long a request waits for an audit: that of some ten thousand pairs is made by then."""

_LONGEST_PAUSE_SECONDS: Final = 60


class Audits:
    """One audit at a time is made; two requests for one wait for the same."""

    def __init__(self, artifacts: Artifacts, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._artifacts = artifacts
        self._wait_seconds = wait_seconds
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._process = AuditProcess()
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], _Running] = {}

    def of(self, record: FileRecord, *, held_out: FileRecord | None, model: FoundModel | None) -> dict[str, Any]:
        """What `Audit.to_dict` says of the file.

        Raises:
            Unavailable: it is still being made (`audit_running`), or cannot be.
            InvalidModel: the model has no tokenizer that can be read.
            ArtifactCorrupt: the file is not what was received.
        """
        key = _key(record, held_out, model=model)
        if (kept := read_audit(self._artifacts, record.id, key=key)) is not None:
            return kept
        with self._lock:
            running = self._running.get((record.id, key))
            if running is None:
                running = self._running[record.id, key] = _Running(record.counts["pairs"])
                running.future = self._executor.submit(self._make, record, held_out, model, key, running)
        try:
            return running.future.result(self._wait_seconds)
        except NotYet:
            raise running.not_yet() from None
        except (DatasetError, InvalidModel):
            raise
        except InfonceError as error:
            raise Unavailable("unavailable", str(error), retry_after_seconds=_LONGEST_PAUSE_SECONDS) from None

    def close(self) -> None:
        """Nothing is made any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._process.end()
