"""What a running job tells its parent, and the JSON lines in which it does.

A job body sees the `Progress` protocol alone; `LineProgress` writes it to a pipe and `read_message` is the other end.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from service.store.records import JobError

MAX_LINE_BYTES = 1 << 20
"""Longer lines are not read: the longest honest one, a result with its metrics, has some kilobytes."""

SIGN_SECONDS: Final = 5.0
"""How often a child that asks whether to stop says that it is at work: what hangs asks nothing and says nothing."""


class Progress(Protocol):
    """What a job body may say while it works, and the one thing it has to ask."""

    def phase(self, name: str) -> None:
        """The job is now in that phase, one of `Phase`."""

    def step(self, values: Mapping[str, Any]) -> None:
        """How far the job is: step, total_steps, percent, eta_seconds; of a training all that one step did."""

    def event(self, level: str, type: str, *, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Something happened that the user may want to read later; level is info, warn or error."""

    def resolved(self, values: Mapping[str, Any]) -> None:
        """What was measured and chosen where the order said `auto`."""

    def saved(self, step: int) -> None:
        """Another attempt would go on after that many steps."""

    def vectors(self, path: Path) -> None:
        """The documents of that file of `EarlyVectors` can be found from now on."""

    def stop_requested(self) -> bool:
        """Whether to drop the unfinished step and end; to be asked at every chunk, for whoever asks is at work."""


class MessageType(StrEnum):
    """The kinds of line that a child sends; one of the last three is its last word."""

    PHASE = "phase"
    PROGRESS = "progress"
    EVENT = "event"
    RESOLVED = "resolved"
    SAVED = "saved"
    VECTORS = "vectors"
    AT_WORK = "at_work"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def final(self) -> bool:
        """Whether nothing follows it."""
        return self in (MessageType.DONE, MessageType.FAILED, MessageType.STOPPED)


class LineProgress:
    """A `Progress` that writes JSON lines to a file descriptor; safe from several threads."""

    def __init__(self, descriptor: int, stop: threading.Event, *, sign_seconds: float = SIGN_SECONDS) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._sign_seconds = sign_seconds
        self._lock = threading.Lock()
        self._sign_at = time.monotonic()

    def phase(self, name: str) -> None:
        """The parent knows the phase."""
        self._send(MessageType.PHASE, {"phase": name})

    def step(self, values: Mapping[str, Any]) -> None:
        """The parent knows how far the job is."""
        self._send(MessageType.PROGRESS, values)

    def event(self, level: str, type: str, *, message: str, data: Mapping[str, Any] | None = None) -> None:
        """The parent has an event to keep."""
        self._send(MessageType.EVENT, {"level": level, "event": type, "message": message, "data": dict(data or {})})

    def resolved(self, values: Mapping[str, Any]) -> None:
        """The parent knows what was chosen."""
        self._send(MessageType.RESOLVED, {"values": dict(values)})

    def saved(self, step: int) -> None:
        """The parent knows how far the newest checkpoint is."""
        self._send(MessageType.SAVED, {"step": step})

    def vectors(self, path: Path) -> None:
        """The parent has the file, and removes it."""
        self._send(MessageType.VECTORS, {"path": str(path)})

    def stop_requested(self) -> bool:
        """Whether a stop was asked for; the parent knows now and then that this is still asked."""
        if time.monotonic() - self._sign_at >= self._sign_seconds:
            self._sign_at = time.monotonic()
            self._send(MessageType.AT_WORK, {})
        return self._stop.is_set()

    def done(self, result: Mapping[str, Any]) -> None:
        """The parent has the result; everything is in the staging folder."""
        self._send(MessageType.DONE, {"result": dict(result)})

    def failed(self, error: JobError) -> None:
        """The parent knows why the job cannot end well."""
        self._send(MessageType.FAILED, {"error": asdict(error)})

    def stopped(self, reason: str | None = None) -> None:
        """The parent knows that the work was dropped because it asked for that, or for the reason given."""
        self._send(MessageType.STOPPED, {} if reason is None else {"reason": reason})

    def _send(self, type: MessageType, body: Mapping[str, Any]) -> None:
        # allow_nan=False: a NaN would make the line something else than JSON; a body that has one says null instead
        line = json.dumps({"type": type.value, **body}, allow_nan=False).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


def read_message(line: bytes) -> tuple[MessageType, dict[str, Any]] | None:
    """The message in a line, or None for a line that is none (it is noise, never an error)."""
    try:
        body = json.loads(line)
        return MessageType(body.pop("type")), body
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
