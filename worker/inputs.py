"""What each kind of job reads, as paths and plain values, so that the child needs neither database nor network."""

import base64
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from infonce.errors import Stopped, UnknownModel
from infonce.hub import FoundModel
from service.store import catalog, changes, documents, files, versions
from service.store.collection_records import CollectionRecord, DocumentRecord, VersionRecord
from service.store.database import Tx
from service.store.errors import NotFound
from service.store.records import FileRecord, JobKind, JobRecord
from worker.filling import fill
from worker.snapshot import write_snapshot
from worker.workshop import Workshop

DOCUMENTS: Final = "documents.jsonl"
PARTS: Final = "parts"
"""Of the file of a collection."""
EARLY: Final = "early"
"""Vectors on their way from an index job to its parent."""
RANKS: Final = "ranks"
"""Where the processes of a training meet; a child that was killed leaves the pairs there."""
CHECKPOINTS: Final = "checkpoints"

_FILES = ("training_file", "validation_file", "evaluation_file", "retention_file", "mining_file")
_ASKED = ("method", "hyperparameters", "learning_rate_multiplier")  # for the report, which says what it became
_MAX_INHERITED = 2  # attempts that saved something; should the newer one's be damaged there is the other's
_POLL_SECONDS = 0.2
_DOCUMENTS_BETWEEN = 1_000  # two questions whether to stop: a few milliseconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """An attempt whose inputs are gathered."""

    shop: Workshop
    job: JobRecord
    folder: Path
    """Of the attempt."""
    stop: Callable[[], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What the order says beside what every order says."""

    values: Mapping[str, Any] = field(default_factory=dict)
    collection: CollectionRecord | None = None
    """Of an index job, as it was when its documents were read."""


def train_inputs(asking: Asking) -> Inputs:
    """Files, model and settings of a training, and the checkpoints of earlier attempts."""
    shop, spec = asking.shop, asking.job.spec
    named = {name: spec[name] for name in _FILES if spec.get(name) is not None}
    values: dict[str, Any] = dict.fromkeys(_FILES) | _files(asking, named)  # the model comes last: it may be fetched
    values["model"] = _model(asking, spec["model"])
    values |= {name: spec[name] for name in ("config", "encoder", "evaluation")}
    values["asked"] = {name: spec[name] for name in _ASKED if name in spec}
    values |= _checkpoints(asking)
    values |= {"processes": shop.settings.processes, "ranks": str(asking.folder / RANKS)}
    return Inputs(values=values | {"gpu_locks": str(shop.artifacts.gpu_locks)})


def index_inputs(asking: Asking) -> Inputs:
    """The collection's documents up to its newest write are in a file of the attempt's folder."""
    shop, path, spec = asking.shop, asking.folder / DOCUMENTS, asking.job.spec
    if spec.get("corpus_file") is not None:
        [corpus] = _files(asking, {"corpus_file": spec["corpus_file"]}).values()
        fill(shop, asking.job, path=Path(corpus["path"]), stop=asking.stop)
    with shop.database.read() as tx:
        collection = catalog.get_collection(tx, asking.job.project, name=spec["collection"])
        model = spec.get("model", spec.get("of_model", collection.model))  # a deployment and a version bring their own
        version, is_served = _renewed(tx, collection, spec=spec), model == collection.model
        index = version.asked_index if version is not None and "version" in spec else collection.asked_index
        collection = replace(collection, model=model, asked_index=index)
        fingerprint = changes.fingerprint_of(tx, collection.id) if version is None else version.fingerprint
        known = {} if fingerprint is None else changes.vectors_of(tx, collection.id, fingerprint=fingerprint)
        with path.open("w", encoding="utf-8") as lines:
            for number, document in enumerate(documents.iterate(tx, collection.id, watermark=collection.watermark)):
                if number % _DOCUMENTS_BETWEEN == 0 and asking.stop():
                    raise Stopped("stopped while documents were read")
                lines.write(json.dumps(_line(document, known.get(document.id))) + "\n")
        previous = None if version is None else _previous(shop, version)
    model = None if collection.model is None else _model(asking, collection.model)
    values = {"model": model, "documents": str(path), "dimension": collection.dimension, "index": index}
    values |= {"embedded_by": fingerprint, "previous": previous}
    values |= {"collection": collection.id, "is_served": is_served, "early": str(asking.folder / EARLY)}
    return Inputs(values=values | {"precision": shop.settings.precision.value}, collection=collection)


def _renewed(tx: Tx, collection: CollectionRecord, *, spec: Mapping[str, Any]) -> VersionRecord | None:
    """The version whose index the job makes anew, or the one that answers now; None where there is none yet."""
    id = spec.get("version", collection.active_version)
    return None if id is None else versions.get(tx, collection.id, id=id)


def _previous(shop: Workshop, version: VersionRecord) -> dict[str, Any] | None:
    """Where an index lies, and up to which write its vectors are those of the documents."""
    if version.folder is None:
        return None
    path = shop.artifacts.collection_version_path(version.collection_id, version.folder)
    return {"path": str(path), "watermark": version.watermark}


def mine_inputs(asking: Asking) -> Inputs:
    """The pairs, the documents to search, the model and the settings."""
    names, spec = ("training_file", "corpus_file"), asking.job.spec
    named = {name: spec[name] for name in names if spec[name] is not None}
    values: dict[str, Any] = dict.fromkeys(names) | _files(asking, named)
    values |= {"model": _model(asking, spec["model"]), "config": spec["config"]}
    return Inputs(values=values | {"precision": asking.shop.settings.precision.value})


def evaluate_inputs(asking: Asking) -> Inputs:
    """The judged queries and every model."""
    spec = asking.job.spec
    values: dict[str, Any] = _files(asking, {"file": spec["file"]})
    values |= {"models": [_model(asking, name) for name in spec["models"]], "ks": spec["ks"]}
    return Inputs(values=values | {"precision": asking.shop.settings.precision.value})


def export_inputs(asking: Asking) -> Inputs:
    """The model; or the collection as it is now, in files of the attempt's folder, and the index that answers."""
    shop, spec, folder = asking.shop, asking.job.spec, asking.folder / PARTS
    if "collection" not in spec:
        return Inputs(values={"model": _model(asking, spec["model"])})
    with shop.database.read() as tx:
        collection = catalog.get_collection(tx, asking.job.project, name=spec["collection"])
        version = _renewed(tx, collection, spec=spec)
        written = write_snapshot(tx, collection, version=version, folder=folder, stop=asking.stop)
    previous = None if version is None else _previous(shop, version)
    index = None if previous is None else {"path": previous["path"], "rows": written.num_indexed}
    return Inputs(values={"parts": str(folder), "facts": written.facts, "index": index})


INPUTS_OF: Final[Mapping[JobKind, Callable[[Asking], Inputs]]] = {
    JobKind.TRAIN: train_inputs,
    JobKind.MINE: mine_inputs,
    JobKind.EVALUATE: evaluate_inputs,
    JobKind.ESTIMATE: train_inputs,
    JobKind.INDEX: index_inputs,
    JobKind.EXPORT: export_inputs,
}
"""Who gathers what a job of that kind reads."""


def _files(asking: Asking, named: Mapping[str, str]) -> dict[str, Any]:
    """Where these uploads lie, each of which is what was received."""
    with asking.shop.database.read() as tx:
        records = {name: files.get_file(tx, asking.job.project, id=id) for name, id in named.items()}
    return {name: _file(asking, record) for name, record in records.items()}  # after the rows: long


def _file(asking: Asking, record: FileRecord) -> dict[str, Any]:
    if asking.stop():
        raise Stopped("stopped before an upload was read")
    path = asking.shop.artifacts.stored_file(record.id, num_bytes=record.num_bytes, sha256=record.sha256)
    named = {"id": record.id, "filename": record.filename, "sha256": record.sha256}
    return {**named, "path": str(path), "mapping": record.mapping}


def _checkpoints(asking: Asking) -> dict[str, Any]:
    """Where this attempt saves, and where earlier ones may have: a zombie among them never writes into ours."""
    job, artifacts = asking.job, asking.shop.artifacts
    own, *earlier = (artifacts.run_path(job.id, number) / CHECKPOINTS for number in range(job.attempt, 0, -1))
    saved = [folder for folder in earlier if folder.is_dir()]
    for folder in saved[_MAX_INHERITED:]:
        artifacts.discard(folder)
    return {"checkpoints": str(own), "inherited": [str(folder) for folder in saved[:_MAX_INHERITED]]}


def _line(document: DocumentRecord, embedded: bytes | None) -> dict[str, Any]:
    """`embedded` is the vector of the text by the encoder of the order's `embedded_by`, if it is known."""
    told = {"id": document.id, "text": document.text, "metadata": dict(document.metadata)}
    vectors = {"vector": document.vector, "embedded": embedded}
    coded = {name: None if one is None else base64.b64encode(one).decode() for name, one in vectors.items()}
    return {**told, **coded, "sequence": document.sequence}


def _model(asking: Asking, name: str) -> dict[str, str]:
    """Where the model is, after a tuned one proved to be what was published and a missing one was fetched."""
    shop = asking.shop

    def tuned(name: str) -> Path | None:
        with shop.database.read() as tx:
            try:
                record = catalog.get_model(tx, asking.job.project, id=name)
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
        model = _fetched(asking, name)
    return {"name": model.name, "path": str(model.path)}


def _fetched(asking: Asking, name: str) -> FoundModel:
    """The model that was downloaded; if the attempt stops, the download goes on beside it and serves the next one."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="download")
    fetching = executor.submit(asking.shop.hub.fetch, name)
    executor.shutdown(wait=False)
    while not wait([fetching], timeout=_POLL_SECONDS).done:
        if asking.stop():
            raise Stopped(f"stopped while {name} was downloaded")
    return fetching.result()
