"""Whatever dies or fills up at whichever call: what was acknowledged is there, and everything is old or new, whole."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from infonce.checkpoint import Checkpoints, newest
from infonce.collection_file import DOCUMENTS, VECTORS, pack_collection
from infonce.index import VectorIndex
from service.store import catalog, documents, evaluations, exports, jobs
from service.store.exports import ExportRecord
from service.store.records import DEFAULT_PROJECT, JobKind, JobRecord, JobStatus, ModelRecord, Phase, new_id
from service.store.tables import collections, files, models, versions
from service.store.tables import evaluations as evaluations_table
from service.store.tables import exports as exports_table
from service.store.tables import jobs as job_table
from service.store.unused import remove_unused
from service.store.upload_tables import upload_parts, uploads
from service.store.uploads import is_pending
from tests.faults import operations
from tests.faults.failpoints import Counter, Fault, Operation, attempt, every_point, server
from tests.faults.homes import PAIR, Home

DAY = 24 * 3600.0
HEALTHY = Counter(Fault.DEATH, 0)
"""Fails at no call."""

Prepare = Callable[[Home], None]


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return server()


def one_file(home: Home) -> None:
    home.upload(PAIR * 40)


def two_parts(home: Home) -> None:
    """An upload whose parts have all come."""
    with operations.gateway(home.path) as http:
        asked = {"filename": "p", "purpose": "fine-tune", "bytes": 2 * len(PAIR), "mime_type": ""}
        id = http.post("/v1/uploads", json=asked).json()["id"]
        for _ in range(2):
            assert http.post(f"/v1/uploads/{id}/parts", files={"data": ("p", PAIR)}).status_code == 200


def brought_model(home: Home) -> None:
    """A model that no job made."""
    staging = home.artifacts.new_part()
    staging.mkdir()
    (staging / "model.safetensors").write_bytes(b"weights")
    record = ModelRecord(
        id="ft:tiny:imported:12345678", project=DEFAULT_PROJECT, created_at=1.0, folder="model-1", parent=None,
        job_id=None, dimensions=8, max_tokens=8, fingerprint="f", summary={}, num_bytes=home.artifacts.seal(staging),
    )  # fmt: skip
    home.artifacts.publish(staging, home.artifacts.model_path(record.folder))
    with home.database.write() as tx:
        catalog.insert_model(tx, record)


def training_job(home: Home) -> None:
    """A job waits for a worker; a model is there already."""
    spec = {
        "model": operations.BASE, "training_file": home.upload().id, "validation_file": None, "evaluation_file": None,
        "suffix": "faq", "config": {}, "encoder": {}, "evaluation": {"held_out": 0, "ks": [10]},
    }  # fmt: skip
    home.model(lambda folder: (folder / "model.safetensors").write_bytes(b"older"))
    _submit(home, JobKind.TRAIN, spec)


def index_job(home: Home) -> None:
    """A job waits for a worker; an index of the same documents answers already."""
    collection = home.collection()
    home.index(collection, ["a", "b", "c"])
    _submit(home, JobKind.INDEX, {"collection": collection.id}, subject=collection.id)


def mining_job(home: Home) -> None:
    """A job waits for a worker."""
    pairs = {"training_file": home.upload().id, "corpus_file": None}
    _submit(home, JobKind.MINE, {**pairs, "model": operations.BASE, "config": {}})


def evaluation_job(home: Home) -> None:
    """An evaluation's job waits for a worker; another one has a result already."""
    file = home.upload()
    done = home.evaluation(file)
    spec = {"file": file.id, "models": [operations.BASE], "ks": [10]}
    job = _submit(home, JobKind.EVALUATE, spec, subject="eval-new")
    with home.database.write() as tx:
        waiting = {"id": "eval-new", "job_id": job.id, "folder": None, "num_bytes": 0}
        evaluations.insert_evaluation(tx, replace(done, **waiting))


def export_job(home: Home) -> None:
    """The export of an indexed collection waits for a worker."""
    collection = home.collection()
    home.index(collection, ["a", "b", "c"])
    spec = {"collection": collection.id, "export": "export-new"}
    job = _submit(home, JobKind.EXPORT, spec, subject=collection.id)
    row = ExportRecord(
        id="export-new", project=DEFAULT_PROJECT, created_at=1.0, job_id=job.id, collection_id=collection.id
    )
    with home.database.write() as tx:
        exports.insert_export(tx, row)


BROUGHT = 18
"""Documents, of which 17 are stored at once."""


def collection_file(home: Home) -> None:
    """The file of a collection lies in the home."""
    folder, text = home.path / "unpacked", "x " * 120_000
    folder.mkdir()
    told = {"text": text, "metadata": {}, "brought": True}
    (folder / DOCUMENTS).write_text("".join(json.dumps({"id": f"d{n}", **told}) + "\n" for n in range(BROUGHT)))
    (folder / VECTORS).write_bytes(np.tile(np.array([1, 0], "<f4"), BROUGHT).tobytes())
    facts = {"name": "faq", "model": None, "fingerprint": None, "dimension": 2, "metadata": {}}
    counts = {"documents": BROUGHT, "brought": BROUGHT, "vectors": BROUGHT}
    said = {"collection": facts, "counts": counts}
    pack_collection(folder, home.path / "collection.tar", facts=said, stop=lambda: False)


def nothing(home: Home) -> None:
    assert attempt(server(), operations.save_checkpoint, home.path, HEALTHY) == 0


def _submit(home: Home, kind: JobKind, spec: dict[str, object], *, subject: str | None = None) -> JobRecord:
    job = JobRecord(
        id=new_id("ftjob"), project=DEFAULT_PROJECT, kind=kind, status=JobStatus.QUEUED, phase=Phase.WAITING,
        created_at=1.0, spec=spec, subject=subject,
    )  # fmt: skip
    with home.database.write() as tx:
        jobs.insert(tx, job)
    return job


CASES: list[tuple[Operation, Prepare, Fault]] = [
    (operations.upload, one_file, Fault.DEATH),
    (operations.upload, one_file, Fault.FULL),
    (operations.delete, one_file, Fault.DEATH),
    (operations.delete, one_file, Fault.FULL),
    (operations.complete_upload, two_parts, Fault.DEATH),
    (operations.complete_upload, two_parts, Fault.FULL),
    (operations.delete_model, brought_model, Fault.DEATH),
    (operations.submit, one_file, Fault.DEATH),
    (operations.submit, one_file, Fault.FULL),
    (operations.publish_model, training_job, Fault.DEATH),
    (operations.publish_model, training_job, Fault.FULL),
    (operations.publish_version, index_job, Fault.DEATH),  # on a full disk it goes the way of a model
    (operations.publish_mined, mining_job, Fault.DEATH),
    (operations.publish_mined, mining_job, Fault.FULL),
    (operations.publish_evaluation, evaluation_job, Fault.DEATH),  # likewise
    (operations.publish_export, export_job, Fault.DEATH),  # likewise
    (operations.import_collection, collection_file, Fault.DEATH),
    (operations.import_collection, collection_file, Fault.FULL),
    (operations.save_checkpoint, nothing, Fault.DEATH),
    (operations.save_checkpoint, nothing, Fault.FULL),
]

TRIED_AGAIN: dict[Operation, int] = {
    operations.publish_model: 5,
    operations.publish_version: 5,
    operations.publish_mined: 5,
    operations.publish_evaluation: 5,
    operations.publish_export: 5,
}
"""After every which death it is tried again, where that takes long: a worker listens for 0.2 s at a time."""


def assert_whole(home: Home) -> None:
    """No row without its bytes, no job with two models, the active index is one that can be searched."""
    with home.database.read() as tx:
        assert tx.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        for row in tx.execute(sa.select(files)):
            home.artifacts.stored_file(row.id, num_bytes=row.num_bytes, sha256=row.sha256)
        for row in tx.execute(sa.select(upload_parts)):
            assert home.artifacts.part_path(row.upload_id, row.id).stat().st_size == row.num_bytes
        for row in tx.execute(sa.select(models)):
            home.artifacts.verify(home.artifacts.model_path(row.folder))
        for row in tx.execute(sa.select(versions)):
            folder = home.artifacts.collection_version_path(row.collection_id, row.folder)
            home.artifacts.verify(folder)
            assert VectorIndex.load(folder).count == row.count
        for row in tx.execute(sa.select(collections)):
            if row.project == DEFAULT_PROJECT and row.active_version is None:
                assert documents.count(tx, row.id) == BROUGHT  # or it is asked for by nobody
            elif row.project == DEFAULT_PROJECT:
                assert catalog.get_version(tx, row.active_version)
        finished = sa.select(evaluations_table).where(evaluations_table.c.folder.is_not(None))
        for row in tx.execute(finished):
            home.artifacts.verify(home.artifacts.evaluation_path(row.folder))
        exported = sa.select(exports_table).where(exports_table.c.expires_at.is_not(None))
        for row in tx.execute(exported):
            if row.folder is not None:
                home.artifacts.verify(home.artifacts.export_path(row.folder))
        of = [*(sa.select(table) for table in (models, versions, files)), exported]
        named = set(tx.execute(sa.select(versions.c.id)).scalars())
        made = {row.job_id for query in (*of, finished) for row in tx.execute(query)}
        for row in tx.execute(sa.select(job_table)):
            renewed = (row.result or {}).get("version") in named  # a version names its newest job alone
            assert (row.id in made or renewed) is (row.status == JobStatus.SUCCEEDED)
    if (home.path / "checkpoints").exists():
        saved = newest(Checkpoints(folder=home.path / "checkpoints"))
        assert saved is not None and saved.step in (1, 2) and float(saved.tensors["weights"][0]) == saved.step


def assert_nothing_left(home: Home) -> None:
    """A day later everything that died on its way is gone, and what rows name is still whole."""
    later = time.time() + 2 * DAY
    list(remove_unused(home.database, home.artifacts, now=later, older_than_seconds=DAY, dry_run=False))
    assert_whole(home)
    with home.database.read() as tx:
        named = set(tx.execute(sa.select(files.c.id)).scalars())
        named |= set(tx.execute(sa.select(uploads.c.id).where(is_pending(), uploads.c.expires_at > later)).scalars())
        tables = (models, versions, evaluations_table, exports_table)
        assert set(tx.execute(sa.select(collections.c.project)).scalars()) <= {DEFAULT_PROJECT}
        named |= {name for table in tables for name in tx.execute(sa.select(table.c.folder)).scalars() if name}
        running = {row.id for row in tx.execute(sa.select(job_table)) if row.status == JobStatus.RUNNING}
    root = home.artifacts.root
    left = [*(root / "files").iterdir(), *(root / "models").iterdir(), *(root / "collections").glob("*/*")]
    left += [*(root / "exports").iterdir(), *(root / "evaluations").iterdir(), *(root / "uploads").iterdir()]
    assert running or {path.name for path in left} == named
    assert list((root / "tmp").iterdir()) == []


def put_back(home: Home) -> None:
    """As the sweep does once a lease has run out, but at once; a job that failed is ordered again."""
    with home.database.write() as tx:
        for row in tx.execute(sa.select(job_table)).all():
            if row.status == JobStatus.RUNNING:
                before = time.time() - 100
                jobs.release(tx, row.id, attempt=row.attempt, now=before, lost=True, reason="the worker fell silent")
            elif row.status == JobStatus.FAILED:
                assert row.error["code"] == "storage_full" and row.error["retryable"]
                again = {"status": JobStatus.QUEUED, "error": None, "run_after": 0.0, "finished_at": None}
                tx.execute(sa.update(job_table).where(job_table.c.id == row.id).values(again))


def counts(home: Home) -> list[int]:
    """How many rows there are of each kind, and of checkpoints."""
    tables = (files, models, versions, job_table)
    with home.database.read() as tx:
        found = [tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in tables]
        own = sa.select(sa.func.count()).select_from(collections).where(collections.c.project == DEFAULT_PROJECT)
        found.append(tx.execute(own).scalar_one())
    return [*found, len(list((home.path / "checkpoints").glob("step-*")))]


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Callable[[Prepare], Callable[[int], Path]]]:
    """For each run a copy of one prepared home."""

    def prepare(fill: Prepare) -> Callable[[int], Path]:
        home = Home.new(tmp_path / "template")
        operations.write_base(home.path)
        fill(home)
        home.close()

        def copy(number: int) -> Path:
            return shutil.copytree(home.path, tmp_path / f"home-{number}")

        return copy

    yield prepare


@pytest.mark.parametrize(("operation", "fill", "fault"), CASES, ids=lambda v: getattr(v, "__name__", None))
def test_old_or_new_whole_and_a_second_try_succeeds(
    context: ForkServerContext,
    homes: Callable[[Prepare], Callable[[int], Path]],
    operation: Operation,
    fill: Prepare,
    fault: Fault,
) -> None:
    copy = homes(fill)
    done = copy(0)
    assert attempt(context, operation, done, HEALTHY) == 0
    expected = counts(Home.open(done))
    retried = range(1, 1_000, TRIED_AGAIN.get(operation, 1))
    for number, path in enumerate(every_point(context, operation, fault=fault, home=copy), 1):
        home = Home.open(path)
        assert_whole(home)
        if counts(home) != expected and number in retried:
            put_back(home)
            assert attempt(context, operation, path, HEALTHY) == 0
            assert_whole(home)
            assert counts(home) == expected
        assert_nothing_left(home)
        home.close()
        shutil.rmtree(path)
