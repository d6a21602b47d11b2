"""Audits of uploads: made once, in a process beside the gateway, and kept; who asks meanwhile hears how far it is."""

import hashlib
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any, Final

from infonce.audit_process import AuditProcess, StoredPairs
from infonce.dialects import FieldMapping
from infonce.errors import DatasetError, InfonceError, InvalidModel
from infonce.findings import VERSION
from infonce.hub import FoundModel
from service.errors import Unavailable
from service.store.artifacts import Artifacts
from service.store.audit_files import read_audit, write_audit
from service.store.records import FileRecord

WAIT_SECONDS: Final = 5.0
"""How long a request waits for an audit: that of some ten thousand pairs is made by then."""

_LONGEST_PAUSE_SECONDS: Final = 60
_MAX_AT_ONCE: Final = 16
_MAX_OF_A_PROJECT: Final = 4
"""One is made at a time and may take a quarter of an hour: nobody's flood makes others wait for days."""
_FAILED_SECONDS: Final = 600.0
_MAX_FAILED: Final = 100
"""What took its process down would do so again: whoever asks meanwhile hears that, and no other process begins."""


class Audits:
    """One audit at a time is made; two requests for one wait for the same."""

    def __init__(self, artifacts: Artifacts, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._artifacts = artifacts
        self._wait_seconds = wait_seconds
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._process = AuditProcess()
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], _Running] = {}
        self._failed: dict[tuple[str, str], tuple[float, str]] = {}

    def of(self, record: FileRecord, *, held_out: FileRecord | None, model: FoundModel | None) -> dict[str, Any]:
        """What `Audit.to_dict` says of the file.

        Raises:
            Unavailable: it is still being made (`audit_running`), or cannot be, or too many wait (`overloaded`).
            InvalidModel: the model has no tokenizer that can be read.
            ArtifactCorrupt: the file is not what was received.
        """
        wanted = _Wanted(record=record, held_out=held_out, model=model)
        key = wanted.key
        if (kept := read_audit(self._artifacts, record.id, key=key)) is not None:
            return kept
        with self._lock:
            running = self._running.get((record.id, key))
            if running is None:
                self._require_place(record)
                self._refuse_failed(record.id, key)
                running = self._running[record.id, key] = _Running(wanted)
                running.future = self._executor.submit(self._make, running)
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

    def _require_place(self, record: FileRecord) -> None:
        """Raise if as many audits are made and wait as may, of all or of the file's project."""
        own = sum(running.wanted.record.project == record.project for running in self._running.values())
        counted = ((own, _MAX_OF_A_PROJECT, " of the project"), (len(self._running), _MAX_AT_ONCE, ""))
        for number, limit, whose in counted:
            if number >= limit:
                said = f"{number} audits{whose} are made or wait and {limit} may; wait for them, then ask again"
                raise Unavailable("overloaded", said, retry_after_seconds=_LONGEST_PAUSE_SECONDS)

    def _refuse_failed(self, file_id: str, key: str) -> None:
        """Raise if this audit has failed a short while ago."""
        until, said = self._failed.get((file_id, key), (0.0, ""))
        if (left := until - time.monotonic()) > 0:
            raise Unavailable("unavailable", said, retry_after_seconds=1 + round(left))

    def _make(self, running: "_Running") -> dict[str, Any]:
        wanted, key = running.wanted, running.wanted.key
        running.began = time.monotonic()
        try:
            kept = read_audit(self._artifacts, wanted.record.id, key=key)  # another gateway may have been faster
            if kept is not None:
                return kept
            model = None if wanted.model is None else (wanted.model.name, wanted.model.path)
            held_out = None if wanted.held_out is None else stored_pairs(self._artifacts, wanted.held_out)
            pairs = stored_pairs(self._artifacts, wanted.record)
            audit = self._process.audit(pairs, held_out=held_out, model=model, on_progress=running.hear)
            write_audit(self._artifacts, wanted.record.id, key=key, audit=audit)
            return audit
        except (DatasetError, InvalidModel):
            raise
        except InfonceError as error:
            with self._lock:
                self._failed[wanted.record.id, key] = (time.monotonic() + _FAILED_SECONDS, str(error))
                for oldest in list(self._failed)[:-_MAX_FAILED]:
                    del self._failed[oldest]
            raise
        finally:
            with self._lock:
                del self._running[wanted.record.id, key]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What decides an audit."""

    record: FileRecord
    held_out: FileRecord | None
    model: FoundModel | None

    @property
    def key(self) -> str:
        """Equal for equal audits: of the shape, what the files hold, and the model's folder, which never changes."""
        held_out = None if self.held_out is None else [self.held_out.sha256, self.held_out.mapping]
        model = None if self.model is None else [self.model.name, str(self.model.path)]
        told = json.dumps([VERSION, self.record.sha256, self.record.mapping, held_out, model], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


class _Running:
    """An audit that is being made, or waits for another one's end."""

    def __init__(self, wanted: _Wanted) -> None:
        self.wanted = wanted
        self.future: Future[dict[str, Any]] = Future()
        self.began: float | None = None
        self._done = 0

    def hear(self, done: int) -> None:
        """So many pairs were read."""
        self._done = done

    def not_yet(self) -> Unavailable:
        """How far it is, and when to ask again."""
        counts, done = self.wanted.record.counts, self._done
        total = counts["pairs"] * (2 if counts.get("negatives") else 1)
        seconds = _LONGEST_PAUSE_SECONDS
        said = f"the audit of {self.wanted.record.id} is being made"
        if self.began is None:
            said = f"the audit of {self.wanted.record.id} waits for another one's end"
        elif done:
            left = (time.monotonic() - self.began) / done * max(0, total - done)
            seconds = min(seconds, max(1, round(left)))
            said += f": {min(done, total):,} of {total:,} pairs were read"
        else:
            seconds = 2
        return Unavailable("audit_running", f"{said}; ask again in {seconds} s", retry_after_seconds=seconds)


def stored_pairs(artifacts: Artifacts, record: FileRecord) -> StoredPairs:
    """Where the upload lies, which is what was received.

    Raises:
        ArtifactCorrupt: it is not.
    """
    path = artifacts.stored_file(record.id, num_bytes=record.num_bytes, sha256=record.sha256)
    mapping = None if record.mapping is None else FieldMapping.from_dict(record.mapping)
    return StoredPairs(path=path, mapping=mapping)
