"""What nothing names is removed, what anything may still need stays, and a dry run only tells."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import files, jobs, uploads
from service.store.queue import QUEUE_OF
from service.store.records import DEFAULT_PROJECT, JobError, JobKind, JobRecord, JobStatus, Phase, new_id
from service.store.tables import repeats
from service.store.unused import KEPT_SECONDS, remove_unused
from tests.faults.homes import Home
from tests.faults.test_backup import contents, infonce, rows

DAY = 24 * 3600.0
LATER = time.time() + DAY + 3600
"""Everything that a test makes has lain for a day by then."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A file, a model and an index, all of them named."""
    home = Home.new(tmp_path / "home")
    home.upload()
    home.model(lambda folder: (folder / "model.safetensors").write_bytes(b"weights"))
    home.index(home.collection(), ["a", "b"])
    yield home
    home.close()


def collect(home: Home, *, now: float = LATER, dry_run: bool = False) -> set[str]:
    """The names of what is gone, or would be."""
    found = remove_unused(home.database, home.artifacts, now=now, older_than_seconds=DAY, dry_run=dry_run)
    return {unused.name for unused in found}


def write(path: Path, num_bytes: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)
    return path


def running(home: Home, kind: JobKind, *, subject: str | None = None) -> JobRecord:
    """A job that a worker holds."""
    job = JobRecord(
        id=new_id("ftjob"), project=DEFAULT_PROJECT, kind=kind, status=JobStatus.QUEUED, phase=Phase.WAITING,
        created_at=1.0, spec={}, subject=subject,
    )  # fmt: skip
    with home.database.write() as tx:
        jobs.insert(tx, job)
        claimed = jobs.claim(tx, QUEUE_OF[kind], owner="me", now=time.time())
    assert claimed is not None and claimed.id == job.id
    return claimed


def test_what_rows_name_stays_and_orphans_go(home: Home) -> None:
    artifacts, before = home.artifacts, contents(home)
    job = running(home, JobKind.TRAIN)
    with home.database.write() as tx:
        jobs.fail(tx, job.id, attempt=1, now=2.0, error=JobError(code="failed", message="no"))
    orphans = {
        write(artifacts.model_path(f"{job.id}-a1") / "model.safetensors").parent,
        write(artifacts.collection_version_path("col-gone", "ver-1") / "index.faiss").parent,
        write(artifacts.file_path("file-gone")),
        write(artifacts.evaluation_path(f"{job.id}-a1") / "1-win.jsonl").parent,
        write(artifacts.run_path("ftjob-gone", 1) / "log.txt").parents[1],
        write(artifacts.root / "tmp" / "1.part"),
    }
    names = {str(path.relative_to(artifacts.root)) for path in orphans}
    assert collect(home, now=time.time()) == set()
    assert collect(home, dry_run=True) == names and all(path.exists() for path in orphans)
    assert collect(home) == names and contents(home) == before
    assert collect(home) == set() and not any(path.exists() for path in orphans)


def test_what_a_running_attempt_has_put_in_place_stays_until_it_is_fenced(home: Home) -> None:
    collection = home.collection("other")
    train, index = running(home, JobKind.TRAIN), running(home, JobKind.INDEX, subject=collection.id)
    mine, evaluate = running(home, JobKind.MINE), running(home, JobKind.EVALUATE)
    mined = write(home.artifacts.file_path("file-mined"))
    evaluated = write(home.artifacts.evaluation_path(f"{evaluate.id}-a1") / "1-win.jsonl")
    model = write(home.artifacts.model_path(f"{train.id}-a1") / "model.safetensors")
    version = write(home.artifacts.collection_version_path(collection.id, "ver-1") / "index.faiss")
    checkpoint = write(home.artifacts.run_path(train.id, 1) / "checkpoints" / "step-000000001" / "state")
    assert collect(home) == set() and model.exists() and version.exists() and checkpoint.exists()
    assert mined.exists() and evaluated.exists()
    with home.database.write() as tx:
        for job in (train, index, mine, evaluate):
            jobs.release(tx, job.id, attempt=1, now=2.0, lost=True, reason="the worker fell silent")
    gone = {f"models/{train.id}-a1", f"collections/{collection.id}/ver-1", f"evaluations/{evaluate.id}-a1"}
    gone |= {"files/file-mined"}
    assert collect(home) == gone and checkpoint.exists(), "the next attempt goes on from it"


def test_the_index_that_an_export_reads_stays_until_it_is_read(home: Home) -> None:
    collection = home.collection("other")
    job = running(home, JobKind.EXPORT, subject=collection.id)
    version = write(home.artifacts.collection_version_path(collection.id, "ver-1") / "index.faiss")
    assert collect(home) == set() and version.exists()
    with home.database.write() as tx:
        jobs.release(tx, job.id, attempt=1, now=2.0, lost=True, reason="the worker fell silent")
    assert collect(home) == {f"collections/{collection.id}/ver-1"}


def test_parts_and_exports_go_when_their_time_is_over(home: Home) -> None:
    (upload, part), export, now = home.part(), home.export(), time.time()
    exporting = running(home, JobKind.EXPORT)
    made = write(home.artifacts.export_path(f"{exporting.id}-a1") / "model.tar")
    gone = {f"uploads/{upload.id}", f"exports/{export.name}"}
    assert collect(home, now=now + DAY - 60) == set() and part.exists() and export.exists()
    assert collect(home, now=now + DAY + 60, dry_run=True) == gone and part.exists()
    assert collect(home, now=now + DAY + 60) == gone and not part.exists() and made.exists()
    with home.database.read() as tx:
        assert uploads.get_upload(tx, DEFAULT_PROJECT, id=upload.id).status == "expired"
        assert uploads.parts_of(tx, upload.id) == {}


@pytest.mark.parametrize(("code", "days"), [("failed", 1), ("nan_loss", 7)])
def test_checkpoints_of_an_ended_job_go_and_those_of_a_diverged_one_a_week_later(
    home: Home, code: str, days: int
) -> None:
    job, now = running(home, JobKind.TRAIN), time.time()
    folder = home.artifacts.run_path(job.id, 1)
    for name in ("order.json", "log.txt", "checkpoints/step-000000001/state", "documents.jsonl"):
        write(folder / name)
    with home.database.write() as tx:
        jobs.fail(tx, job.id, attempt=1, now=now, error=JobError(code=code, message="no"))
    assert collect(home, now=now + days * DAY - 60) == set()
    names = {f"runs/{job.id}/1/{name}" for name in ("checkpoints", "documents.jsonl")}
    assert collect(home, now=now + days * DAY + 60) == names
    assert sorted(path.name for path in folder.iterdir()) == ["log.txt", "order.json"]


def test_vectors_of_a_published_model_stay_and_others_go_after_a_week(home: Home) -> None:
    for name in ("f-float32", "unknown-float32"):  # the fixture's model has the fingerprint f
        write(home.artifacts.vectors_root / name / "1.safetensors")
    assert collect(home, now=time.time() + KEPT_SECONDS - 60) == set()
    assert collect(home, now=time.time() + KEPT_SECONDS + 60) == {"vectors/unknown-float32"}


def test_requests_that_may_not_be_repeated_any_more_are_forgotten(home: Home) -> None:
    now = time.time()
    with home.database.write() as tx:
        for number, age in enumerate((3600.0, DAY + 1)):
            row = {"route": "r", "key": str(number), "body_sha256": "0", "object_id": "o", "created_at": now - age}
            tx.execute(repeats.insert().values(project=DEFAULT_PROJECT, **row))
    assert collect(home, now=now) == {"1 repeated requests"}
    assert [row[2] for row in rows(home)["repeats"]] == ["0"]


def test_the_bytes_of_a_file_whose_deletion_was_cut_off_are_freed_by_the_command(home: Home) -> None:
    record = home.upload(b"x" * 5_000)
    with home.database.write() as tx:
        files.delete_file(tx, DEFAULT_PROJECT, id=record.id)
    said = infonce("gc", "--home", home.path, "--dry-run")
    assert said.returncode == 0 and "0 bytes  could be freed, 0 things" in said.stdout, said
    assert infonce("gc", "--home", home.path, "--older-than", "0").returncode == 2
    found = list(remove_unused(home.database, home.artifacts, now=LATER, older_than_seconds=DAY, dry_run=False))
    assert [(f.name, f.num_bytes) for f in found if "files/" in f.name] == [(f"files/{record.id}", 5_000)]
