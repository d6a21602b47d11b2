"""Everything that a run needs to go on after step n, in a folder that is written whole or not at all.

Weights, optimizer, learnt temperature, queue and slow encoder lie in one safetensors file, the rest in a manifest
with its SHA-256. Random numbers need no place: every step seeds its own.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infonce.allocator import give_back_freed_memory
from infonce.digest import sha256_of, signed, unsigned
from infonce.errors import CheckpointMismatch, Stopped
from infonce.os_errors import plain_os_errors
from infonce.records import Progress
from infonce.run_state import RunState

NUM_KEPT: Final = 2
"""The newest one and, should that be damaged, the one before."""

WORTH_SECONDS: Final = 10.0
"""Of work at the end of a run: so much is saved."""

_TENSORS = "state.safetensors"
_MANIFEST = "manifest.json"
_FOLDERS = "step-" + 9 * "[0-9]"
_FORMAT = 2  # 1 had no digest of the manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A checkpoint that was read and verified."""

    step: int
    facts: Mapping[str, Any]
    """What the run wrote down beside the tensors."""
    curve: Sequence[Mapping[str, Any]]
    """The records of the steps."""
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoints:
    """The checkpoints of one run, in a folder of their own."""

    folder: Path
    inherited: Sequence[Path] = ()
    """Folders of earlier attempts at the same run, which are read and never written."""
    every_seconds: float = 120.0
    """Between two of them; the work of so long may be lost."""


def save(
    checkpoints: Checkpoints, state: RunState, *, curve: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> None:
    """The state after the steps of the curve is on disk, and older ones than the last two are gone.

    Raises:
        OSError: there is no room; the checkpoints that were there are untouched.
    """
    checkpoints.folder.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoints.folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    target = checkpoints.folder / f"step-{len(curve):09d}"
    try:
        _write(unfinished, state.tensors(), notes={"facts": facts, "curve": curve})
        shutil.rmtree(target, ignore_errors=True)  # a damaged one of the same step
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # a part of it would keep a full disk full
    _sync(checkpoints.folder)
    names = sorted(path.name for path in checkpoints.folder.glob(_FOLDERS))
    kept = [name for name in names if name <= target.name][-NUM_KEPT:]  # a later one was damaged, or not gone on from
    for name in set(names) - set(kept):
        shutil.rmtree(checkpoints.folder / name)


def newest(checkpoints: Checkpoints, *, damaged: Callable[[int], None] = lambda step: None) -> Saved | None:
    """The newest checkpoint that is whole; None if there is none. The steps of newer ones are said to `damaged`."""
    found = [path for folder in (checkpoints.folder, *checkpoints.inherited) for path in folder.glob(_FOLDERS)]
    newest_first = sorted(found, key=lambda path: path.name, reverse=True)
    for path in newest_first:
        if (saved := _read(path)) is not None:
            return saved
        damaged(int(path.name.removeprefix("step-")))
    return None


def num_saved(num_steps: int, training_seconds: float, *, every_seconds: float) -> int:
    """How many checkpoints a run of steps of one length writes, that at its end included where it is worth it."""
    step_seconds = training_seconds / num_steps
    between = max(1, math.ceil(every_seconds / step_seconds))
    num_due, rest = divmod(num_steps, between)
    return num_due + int(rest * step_seconds >= WORTH_SECONDS)


class Keeper:
    """Saves the state of a run by time, and when it is stopped; nothing where there is no place for it.

    What was saved is told. A checkpoint that cannot be written is told too, and tried again later: the run needs it
    only if it is broken off.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        state: RunState,
        *,
        curve: Sequence[Any],
        facts: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        """`curve` is the run's own list of its records, dataclasses that become JSON."""
        self._checkpoints = checkpoints
        self._state = state
        self._curve = curve
        self._facts = facts
        self._progress = progress
        self._saved_steps = len(curve)
        self._tried_at = time.monotonic()

    def save_if_due(self) -> None:
        """The step that has just been finished is on disk, if the last save is long enough ago."""
        if self._checkpoints is not None and time.monotonic() - self._tried_at >= self._checkpoints.every_seconds:
            self._save(self._checkpoints)

    def amend(self, facts: Mapping[str, Any]) -> None:
        """These facts stand beside the tensors from now on; the last finished step is on disk, if there is room."""
        self._facts = {**self._facts, **facts}
        if self._checkpoints is not None:
            self._save(self._checkpoints)

    def save_at_end(self) -> None:
        """The last steps are on disk if they were long: what follows, an evaluation maybe, can be broken off too."""
        if self._checkpoints is None or len(self._curve) == self._saved_steps:
            return
        if time.monotonic() - self._tried_at >= WORTH_SECONDS:
            self._save(self._checkpoints)

    @contextmanager
    def saving_on_stop(self) -> Iterator[None]:
        """Inside, `Stopped` passes once the last finished step is on disk, if there is room."""
        try:
            yield
        except Stopped:
            if self._checkpoints is not None and len(self._curve) > self._saved_steps:
                self._save(self._checkpoints)
            raise

    def _save(self, checkpoints: Checkpoints) -> None:
        self._tried_at = time.monotonic()
        try:
            save(checkpoints, self._state, curve=[asdict(record) for record in self._curve], facts=self._facts)
            self._saved_steps = len(self._curve)
            self._progress.saved(self._saved_steps)
        except OSError as error:
            self._progress.unsaved(error.strerror or str(error))
        give_back_freed_memory()  # of copies that were written, and of steps of other shapes between what is needed


def check_same_run(saved: Saved, *, facts: Mapping[str, Any]) -> None:
    """Raise `CheckpointMismatch`, naming what differs, unless these facts are true of the run that wrote it."""
    for name, value in facts.items():
        if differs := difference(name, saved.facts.get(name), now=value):
            message = f"the checkpoint of step {saved.step} belongs to another run: {differs}"
            raise CheckpointMismatch(f"{message}; set it back, or give this run a folder of its own")


def difference(name: str, earlier: object, *, now: object) -> str:
    """What differs, down to the setting where there are some; nothing where nothing does.

    A setting that is not there is one that is None: an older program did not know it yet.
    """
    if earlier == now:
        return ""
    if not isinstance(earlier, Mapping) or not isinstance(now, Mapping):
        return f"its {name} differs" if len(f"{earlier}{now}") > 100 else f"its {name} was {earlier} and is {now}"
    differing = (difference(key, earlier.get(key), now=now.get(key)) for key in {**earlier, **now})
    return ", ".join(filter(None, differing))


def _write(folder: Path, tensors: dict[str, Tensor], *, notes: Mapping[str, Any]) -> None:
    """Tensors and manifest are in the new folder, and on disk."""
    folder.mkdir()
    with plain_os_errors():
        save_file(tensors, folder / _TENSORS)
    manifest = {"format": _FORMAT, "sha256": sha256_of(folder / _TENSORS), **notes}
    (folder / _MANIFEST).write_bytes(signed(json.dumps(manifest).encode()))
    for path in (folder / _TENSORS, folder / _MANIFEST, folder):
        _sync(path)


def _read(folder: Path) -> Saved | None:
    """What lies there, or None where something is missing, damaged or of another format."""
    try:
        manifest = json.loads(unsigned((folder / _MANIFEST).read_bytes()))
        if manifest["format"] != _FORMAT or sha256_of(folder / _TENSORS) != manifest["sha256"]:
            return None
        facts, curve = manifest["facts"], manifest["curve"]
        return Saved(step=len(curve), facts=facts, curve=curve, tensors=load_file(folder / _TENSORS))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
