"""The work order of an attempt: where its inputs are, where its results will be, and what is left of it afterwards."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infonce.logs import at_work
from service.store.collection_records import CollectionRecord
from service.store.records import JobRecord
from worker.inputs import CHECKPOINTS, DOCUMENTS, EARLY, INPUTS_OF, PARTS, RANKS, Asking
from worker.workshop import Workshop

_STAGING = "staging"
_FINISH = "finish"
_UNFINISHED = "unfinished"  # what a child that was killed while it saved leaves there; see infonce/checkpoint.py


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A written order: where it is, and where its results will be."""

    path: Path
    staging: Path
    log_path: Path
    finish_path: Path
    """Where something is once the work is to end early with what it has made."""
    collection: CollectionRecord | None = None
    """Of an index job, as it was when its documents were read."""


def write_order(shop: Workshop, job: JobRecord, *, stop: Callable[[], bool] = lambda: False) -> Order:
    """The order of this attempt is on disk; a model that may be downloaded has been.

    Raises:
        UnknownModel, InvalidModel, NotFound, ArtifactCorrupt, StorageFull: an input is not there or not whole.
        Stopped: `stop()` was true while documents were read or a model was downloaded.
    """
    folder = shop.artifacts.run_path(job.id, job.attempt)
    staging = folder / _STAGING
    shop.artifacts.discard(folder)
    staging.mkdir(parents=True)
    inputs = INPUTS_OF[job.kind](Asking(shop=shop, job=job, folder=folder, stop=stop))
    body = {
        "kind": job.kind.value,
        "job_id": job.id,
        "attempt": job.attempt,
        "log_ids": at_work(),
        "staging": str(staging),
        "finish": str(folder / _FINISH),
        "vectors_root": str(shop.artifacts.vectors_root),
        "threads": shop.settings.threads,
    }
    path = folder / "order.json"
    path.write_text(json.dumps({**body, **inputs.values}, indent=2))
    return Order(
        path=path,
        staging=staging,
        log_path=folder / "log.txt",
        finish_path=folder / _FINISH,
        collection=inputs.collection,
    )


def ask_to_finish(path: Path) -> None:
    """The child reads there that it is to end early; on a full disk it is told the next time."""
    with contextlib.suppress(OSError):
        path.mkdir(exist_ok=True)


def clean(shop: Workshop, job: JobRecord) -> None:
    """Of the attempt's own files the order and the log are left, for people."""
    folder = shop.artifacts.run_path(job.id, job.attempt)
    for name in (_STAGING, DOCUMENTS, EARLY, PARTS, RANKS, _FINISH):
        shop.artifacts.discard(folder / name)
    shop.artifacts.discard(folder / CHECKPOINTS / _UNFINISHED)


def forget(shop: Workshop, job: JobRecord) -> None:
    """No checkpoint of any attempt is left: the job has a result, or will never have one."""
    for attempt in range(1, job.attempt + 1):
        shop.artifacts.discard(shop.artifacts.run_path(job.id, attempt) / CHECKPOINTS)
