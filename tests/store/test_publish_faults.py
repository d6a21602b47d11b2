"""A process that dies, or a disk that fills, in the middle of a publication: nothing half-made becomes visible."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.store import catalog, jobs
from service.store.artifacts import CHECKSUMS, Artifacts
from service.store.database import Database
from service.store.errors import NotFound
from service.store.records import JobStatus

PUBLISH = """
import os, sys
from pathlib import Path
from service.store import catalog, jobs
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.records import JobKind, JobRecord, JobStatus, ModelRecord, Phase

root, url, die_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def point(name):
    if name == die_at:
        os._exit(137)

artifacts, database = Artifacts(root), Database.open(url)
artifacts.prepare()
with database.write() as tx:
    jobs.insert(tx, JobRecord(id="ftjob-1", project="default", kind=JobKind.TRAIN, status=JobStatus.QUEUED,
                              phase=Phase.WAITING, created_at=1.0, spec={}))
    job = jobs.claim(tx, "train", owner="o", now=1.0)
staging = artifacts.run_path(job.id, job.attempt) / "staging"
staging.mkdir(parents=True)
(staging / "weights").write_bytes(b"w" * 1000)
point("written")
artifacts.seal(staging)
point("sealed")
artifacts.publish(staging, artifacts.model_path("m1"))
point("renamed")
with database.write() as tx:
    assert jobs.succeed(tx, job.id, attempt=job.attempt, now=2.0, result={})
    catalog.insert_model(tx, ModelRecord(id="ft:m:s:1", project="default", created_at=2.0, folder="m1", parent="m",
                                         job_id=job.id, dimensions=2, max_tokens=8, fingerprint="f", summary={}))
    point("before_commit")
point("after_commit")
"""


@pytest.mark.parametrize("die_at", ["written", "sealed", "renamed", "before_commit", "after_commit"])
def test_a_death_leaves_all_or_nothing_visible(sqlite_url: str, tmp_path: Path, die_at: str) -> None:
    root = tmp_path / "artifacts"
    done = subprocess.run([sys.executable, "-c", PUBLISH, root, sqlite_url, die_at], check=False, timeout=60)
    assert done.returncode == 137
    artifacts, database = Artifacts(root), Database.open(sqlite_url)
    with database.read() as tx:
        status = jobs.get(tx, "default", id="ftjob-1").status
        if die_at == "after_commit":
            model = catalog.get_model(tx, "default", id="ft:m:s:1")
            artifacts.verify(artifacts.model_path(model.folder))
            assert status is JobStatus.SUCCEEDED
        else:  # after the rename a folder is left that no row names; the next attempt publishes under its own
            assert artifacts.model_path("m1").exists() is (die_at in ("renamed", "before_commit"))
            assert status is JobStatus.RUNNING
            with pytest.raises(NotFound):
                catalog.get_model(tx, "default", id="ft:m:s:1")
    database.close()


FILL = """
import resource, sys
from pathlib import Path
from service.store.artifacts import Artifacts, disk_errors
from service.store.errors import StorageFull

artifacts = Artifacts(Path(sys.argv[1]))
artifacts.prepare()
staging = artifacts.run_path("ftjob-1", 1) / "staging"
staging.mkdir(parents=True)
for number in range(50):
    (staging / f"{number}.bin").write_bytes(b"w" * 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # the files fit, the list of their checksums does not
for attempt in range(2):
    try:
        artifacts.seal(staging)
    except StorageFull as error:
        print("full:", error)
part = artifacts.new_part()
try:
    with disk_errors():
        part.write_bytes(b"u" * 5000)
except StorageFull:
    artifacts.discard(part)
    print("no upload")
"""


def test_a_full_disk_is_said_and_nothing_is_published(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["full", "full", "no upload"]
    assert "free disk space" in lines[0]
    staging = Artifacts(tmp_path).run_path("ftjob-1", 1) / "staging"
    assert (staging / CHECKSUMS).stat().st_size <= 2000  # cut short, and so no seal
    assert list((tmp_path / "tmp").iterdir()) == list((tmp_path / "models").iterdir()) == []
