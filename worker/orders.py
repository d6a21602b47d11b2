"""The work order of an attempt: every input as a path, so that the child needs neither database nor network."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infonce.errors import Stopped, UnknownModel
from infonce.hub import FoundModel
from service.store import catalog, documents, files
from service.store.errors import NotFound
from service.store.records import CollectionRecord, DocumentRecord, FileRecord, JobKind, JobRecord
from worker.workshop import Workshop

_FILES = ("training_file", "validation_file", "evaluation_file")
_ASKED = ("method", "hyperparameters", "learning_rate_multiplier")  # for the report, which says what it became
_STAGING = "staging"
_POLL_SECONDS = 0.2
_DOCUMENTS_BETWEEN = 1_000  # two questions whether to stop: a few milliseconds
_DOCUMENTS = "documents.jsonl"
_CHECKPOINTS = "checkpoints"
_RANKS = "ranks"  # where the processes of a training meet; a child that was killed leaves the pairs there
_UNFINISHED = "unfinished"  # what a child that was killed while it saved leaves there; see infonce/checkpoint.py
_MAX_INHERITED = 2  # attempts that saved something; should the newer one's be damaged there is the other's


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A written order: where it is, and where its results will be."""

    path: Path
    staging: Path
    log_path: Path
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
    if job.kind is JobKind.TRAIN:
        collection, inputs = None, _train_inputs(shop, job, stop=stop)
        inputs |= _checkpoints(shop, job)
        inputs |= {"processes": shop.settings.processes, "ranks": str(folder / _RANKS)}
        inputs |= {"gpu_locks": str(shop.artifacts.gpu_locks)}
    else:
        collection, inputs = _index_inputs(shop, job, path=folder / _DOCUMENTS, stop=stop)
    body = {
        "kind": job.kind.value,
        "job_id": job.id,
        "attempt": job.attempt,
        "staging": str(staging),
        "vectors_root": str(shop.artifacts.vectors_root),
        "threads": shop.settings.threads,
    }
    path = folder / "order.json"
    path.write_text(json.dumps(body | inputs, indent=2))
    return Order(path=path, staging=staging, log_path=folder / "log.txt", collection=collection)


def _train_inputs(shop: Workshop, job: JobRecord, *, stop: Callable[[], bool]) -> dict[str, Any]:
    spec = job.spec
    with shop.database.read() as tx:
        named = {name: spec.get(name) for name in _FILES}
        records = {name: id and files.get_file(tx, job.project, id=id) for name, id in named.items()}
    inputs = {
        name: record and _file(shop, record, stop=stop) for name, record in records.items()
    }  # after the rows: long
    model = _model(shop, job.project, name=spec["model"], stop=stop)
    return {
        "model": model,
        **inputs,
        "config": spec["config"],
        "encoder": spec["encoder"],
        "evaluation": spec["evaluation"],
        "asked": {name: spec[name] for name in _ASKED if name in spec},
    }


def _checkpoints(shop: Workshop, job: JobRecord) -> dict[str, Any]:
    """Where this attempt saves, and where earlier ones may have: a zombie among them never writes into ours."""
    own, *earlier = (shop.artifacts.run_path(job.id, number) / _CHECKPOINTS for number in range(job.attempt, 0, -1))
    saved = [folder for folder in earlier if folder.is_dir()]
    for folder in saved[_MAX_INHERITED:]:
        shop.artifacts.discard(folder)
    return {"checkpoints": str(own), "inherited": [str(folder) for folder in saved[:_MAX_INHERITED]]}


def _file(shop: Workshop, record: FileRecord, *, stop: Callable[[], bool]) -> dict[str, Any]:
    if stop():
        raise Stopped("stopped before an upload was read")
    path = shop.artifacts.stored_file(record.id, num_bytes=record.num_bytes, sha256=record.sha256)
    named = {"id": record.id, "filename": record.filename, "sha256": record.sha256}
    return {**named, "path": str(path), "mapping": record.mapping}


def _index_inputs(
    shop: Workshop, job: JobRecord, *, path: Path, stop: Callable[[], bool]
) -> tuple[CollectionRecord, dict[str, Any]]:
    """The collection's documents up to its newest write are in the file at `path`."""
    with shop.database.read() as tx:
        collection = catalog.get_collection(tx, job.project, name=job.spec["collection"])
        with path.open("w", encoding="utf-8") as lines:
            for number, document in enumerate(documents.iterate(tx, collection.id, watermark=collection.watermark)):
                if number % _DOCUMENTS_BETWEEN == 0 and stop():
                    raise Stopped("stopped while documents were read")
                lines.write(json.dumps(_line(document)) + "\n")
    model = None if collection.model is None else _model(shop, job.project, name=collection.model, stop=stop)
    inputs = {"model": model, "documents": str(path), "dimension": collection.dimension}
    return collection, inputs | {"precision": shop.settings.precision.value}


def _line(document: DocumentRecord) -> dict[str, str | None]:
    vector = None if document.vector is None else base64.b64encode(document.vector).decode()
    return {"id": document.id, "text": document.text, "vector": vector}


def _model(shop: Workshop, project: str, *, name: str, stop: Callable[[], bool]) -> dict[str, str]:
    """Where the model is, after a tuned one proved to be what was published and a missing one was fetched."""

    def tuned(name: str) -> Path | None:
        with shop.database.read() as tx:
            try:
                record = catalog.get_model(tx, project, id=name)
            except NotFound:
                return None
        path = shop.artifacts.model_path(record.folder)
        shop.artifacts.verify(path)
        return path

    try:
        model = shop.hub.resolve(name, tuned=tuned)
    except UnknownModel:
        if not shop.hub.may_fetch(name):
            raise
        model = _fetched(shop, name, stop=stop)
    return {"name": model.name, "path": str(model.path)}


def _fetched(shop: Workshop, name: str, *, stop: Callable[[], bool]) -> FoundModel:
    """The model that was downloaded; if the attempt stops, the download goes on beside it and serves the next one."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="download")
    fetching = executor.submit(shop.hub.fetch, name)
    executor.shutdown(wait=False)
    while not wait([fetching], timeout=_POLL_SECONDS).done:
        if stop():
            raise Stopped(f"stopped while {name} was downloaded")
    return fetching.result()


def clean(shop: Workshop, job: JobRecord) -> None:
    """Of the attempt's own files the order and the log are left, for people."""
    folder = shop.artifacts.run_path(job.id, job.attempt)
    shop.artifacts.discard(folder / _STAGING)
    shop.artifacts.discard(folder / _DOCUMENTS)
    shop.artifacts.discard(folder / _RANKS)
    shop.artifacts.discard(folder / _CHECKPOINTS / _UNFINISHED)


def forget(shop: Workshop, job: JobRecord) -> None:
    """No checkpoint of any attempt is left: the job has a result, or will never have one."""
    for attempt in range(1, job.attempt + 1):
        shop.artifacts.discard(shop.artifacts.run_path(job.id, attempt) / _CHECKPOINTS)
