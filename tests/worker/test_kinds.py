"""Mining, evaluations and estimates as jobs: a child that is killed costs time alone, and each leaves one result."""

import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa

from service.store import evaluations, exports, files, jobs, tables
from service.store.evaluations import EvaluationRecord
from service.store.events import NewEvent
from service.store.exports import ExportRecord
from service.store.queue import QUEUE_OF
from service.store.records import FilePurpose, FileRecord, JobKind, JobStatus, Page, new_id
from tests.faults.operations import EVALUATING, MINING
from tests.worker.conftest import MODEL, PROJECT, Site
from worker.child import BODIES
from worker.inputs import INPUTS_OF
from worker.publish import PUBLISHERS

TRAINING = {"config": {}, "encoder": {}, "evaluation": {"held_out": 0, "ks": [10]}}


@dataclass(frozen=True)
class Case:
    """A kind of job, what it needs, and what its child says in the end."""

    kind: JobKind
    spec: dict[str, Any]
    script: str


CASES = [
    Case(JobKind.MINE, {"training_file": "FILE", "corpus_file": None, "model": MODEL, "config": {}}, MINING),
    Case(JobKind.EVALUATE, {"file": "FILE", "models": [MODEL], "ks": [10]}, EVALUATING),
    Case(JobKind.EXPORT, {"model": MODEL}, "(staging / 'model.tar').write_bytes(b'tar'); say('done', result={})"),
    Case(JobKind.ESTIMATE, {"training_file": "FILE", "model": MODEL, **TRAINING}, "say('done', result={'seconds': 5})"),
]


def submitted(site: Site, case: Case) -> str:
    """The id of a job of that kind over an uploaded file; an evaluation has its row."""
    content = b'{"anchor": "a", "positive": "b"}\n'
    file = FileRecord(
        id=new_id("file"), project=PROJECT, created_at=time.time(), filename="pairs.jsonl",
        purpose=FilePurpose.FINE_TUNE, num_bytes=len(content), sha256=sha256(content).hexdigest(), counts={"pairs": 1},
    )  # fmt: skip
    site.shop.artifacts.file_path(file.id).write_bytes(content)
    with site.shop.database.write() as tx:
        files.insert_file(tx, file)
    spec = {key: file.id if value == "FILE" else value for key, value in case.spec.items()}
    id = site.submit(case.kind, spec, subject="eval-1")
    row = EvaluationRecord(
        id="eval-1", project=PROJECT, created_at=1.0, job_id=id, file_id=file.id, models=(MODEL,), ks=(10,), metadata={}
    )
    export = ExportRecord(id="eval-1", project=PROJECT, created_at=1.0, job_id=id, model=MODEL)
    if case.kind is JobKind.EXPORT:
        with site.shop.database.write() as tx:
            exports.insert_export(tx, export)
    if case.kind is JobKind.EVALUATE:
        with site.shop.database.write() as tx:
            evaluations.insert_evaluation(tx, row)
    return id


def left(site: Site) -> list[str]:
    """What lies in the artifact root for others to see."""
    root = site.shop.artifacts.root
    return sorted(
        path.name for name in ("files", "models", "exports", "evaluations") for path in (root / name).iterdir()
    )


def test_every_kind_has_its_inputs_its_body_and_its_publication() -> None:
    for table in (BODIES, INPUTS_OF, PUBLISHERS, QUEUE_OF):
        assert set(table) == set(JobKind)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.kind))
def test_a_job_whose_child_is_killed_is_repeated_and_leaves_one_result(site: Site, case: Case) -> None:
    id, before = submitted(site, case), left(site)
    site.with_child("os.kill(os.getpid(), 9)").answer(QUEUE_OF[case.kind])
    assert (site.job(id).losses, left(site)) == (1, before)
    with site.shop.database.write() as tx:
        again = jobs.locked(tx, PROJECT, id=id)
        event = NewEvent(job_id=id, attempt=1, at=1.0, type="test", message="at once")
        jobs.change(tx, again, event=event, values={"run_after": 0.0})
    site.with_child(case.script).answer(QUEUE_OF[case.kind])
    assert (site.job(id).status, site.job(id).attempt) == (JobStatus.SUCCEEDED, 2)
    assert len(left(site)) == len(before) + (case.kind is not JobKind.ESTIMATE)


@pytest.mark.parametrize("of_job", [{}, {"stage": "mined"}])
def test_a_mined_file_has_the_metadata_of_its_job_or_else_of_its_parent(site: Site, of_job: dict[str, str]) -> None:
    id = submitted(site, CASES[0])
    with site.shop.database.write() as tx:
        tx.execute(sa.update(tables.files).values(metadata={"team": "search"}))
        tx.execute(sa.update(tables.jobs).values(metadata=of_job))
    site.with_child(CASES[0].script).answer(QUEUE_OF[JobKind.MINE])
    [made] = site.job(id).result["result_files"]
    with site.shop.database.read() as tx:
        assert files.get_file(tx, PROJECT, id=made).metadata == (of_job or {"team": "search"})


def test_the_result_of_an_estimate_is_its_jobs_and_a_file_knows_who_made_it(site: Site) -> None:
    mine, estimate = (submitted(site, case) for case in (CASES[0], CASES[-1]))
    for case in (CASES[0], CASES[-1]):
        site.with_child(case.script).answer(QUEUE_OF[case.kind])
    assert site.job(estimate).result == {"seconds": 5}
    [made] = site.job(mine).result["result_files"]
    with site.shop.database.read() as tx:
        record, (newest, *_) = files.get_file(tx, PROJECT, id=made), files.page_files(tx, PROJECT, page=Page())[0]
    assert record == newest and (record.job_id, record.counts["negatives"]) == (mine, 1)
    path = site.shop.artifacts.stored_file(made, num_bytes=record.num_bytes, sha256=record.sha256)
    assert b'"negatives"' in path.read_bytes() and record.parent == site.job(mine).spec["training_file"]
