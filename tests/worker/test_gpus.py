"""Two trainings never compute on one GPU: the second waits, then gives its job back."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infonce.errors import Stopped
from service.store import events
from service.store.records import JobStatus, Page
from tests.worker.conftest import Site
from tests.worker.test_child import end, start
from worker.gpus import GpuBusy, hold_gpus
from worker.jobs.embedding import gpus_of

HOLD = """
import sys, time
from pathlib import Path
from worker.gpus import hold_gpus
hold_gpus(Path(sys.argv[1]), ["b", "a"], stop=lambda: False)
print("held", flush=True)
time.sleep(60)"""


def wait(folder: Path, *, stop: bool = False, seconds: float = 0.2) -> None:
    hold_gpus(folder, ["a"], stop=lambda: stop, patience_seconds=seconds)


def test_a_gpu_is_held_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(GpuBusy, match=r"gpu_busy: .* \(GPU a\)"):
        wait(tmp_path)
    with pytest.raises(Stopped, match="while another process held"):
        wait(tmp_path, stop=True, seconds=60)
    holder.kill()
    wait(tmp_path, seconds=20)
    holder.wait()
    holder.stdout.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu-a.lock", "gpu-b.lock"]


def test_a_child_that_finds_its_gpu_busy_says_so(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "gpu-a.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    hold = f"from worker.gpus import hold_gpus\nhold_gpus(Path({str(tmp_path)!r}), ['a'], stop=lambda: False, "
    code, [(kind, body)], _ = end(start(tmp_path, hold + "patience_seconds=0.2)"))
    os.close(lock)
    assert (code, kind) == (0, "stopped") and body["reason"].startswith("gpu_busy: another process has held it")


def test_a_job_whose_gpu_is_busy_waits_again_without_a_loss(site: Site) -> None:
    id = site.submit_training()
    site.with_child("say('stopped', reason='gpu_busy: another process has held it for 60 s')").answer()
    with site.shop.database.read() as tx:
        [last], _ = events.page(tx, id, page=Page(limit=1))
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.QUEUED, 0)
    assert (last.type, last.message) == ("released", "gpu_busy: another process has held it for 60 s")


def test_on_a_cpu_there_is_nothing_to_hold() -> None:
    assert gpus_of("cpu") == []
