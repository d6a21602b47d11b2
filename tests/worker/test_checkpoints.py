"""Checkpoints outlive an attempt, and end with the job that has a result or will never have one."""

import time
from pathlib import Path

from service.store import wishes
from service.store.records import JobStatus, Phase
from tests.end_to_end.processes import until
from tests.worker.conftest import PROJECT, Site

SAVING = """
folder = Path(order["checkpoints"])
folder.mkdir()
(folder / "step-1").write_bytes(b"state")
"""


def test_checkpoints_outlive_a_lost_attempt_reach_the_next_one_and_end_with_the_job(site: Site) -> None:
    id = site.submit_training()
    site.with_child(SAVING + "os._exit(9)").answer()
    with site.shop.database.write() as tx:  # the pause between two attempts is over
        tx.exec_driver_sql("UPDATE jobs SET run_after = 0")
    site.with_child(SAVING + "assert len(order['inherited']) == 1\nfinish_training()").answer()
    assert site.job(id).status is JobStatus.SUCCEEDED
    runs = site.shop.artifacts.run_path(id, 1).parent
    assert not list(runs.rglob("checkpoints"))


def kept(site: Site, id: str) -> list[Path]:
    """The checkpoint folders of all attempts at the job."""
    return list(site.shop.artifacts.run_path(id, 1).parent.rglob("checkpoints"))


def test_checkpoints_end_with_the_last_loss(site: Site) -> None:
    id = site.submit_training()
    with site.shop.database.write() as tx:
        tx.exec_driver_sql("UPDATE jobs SET losses = 2")
    site.with_child(SAVING + "os._exit(9)").answer()
    assert site.job(id).status is JobStatus.FAILED
    assert kept(site, id) == []


def test_a_cancelled_job_keeps_its_last_checkpoint_and_nothing_unfinished(site: Site) -> None:
    id = site.submit_training()
    half = "(folder / 'unfinished').mkdir()\n"
    wait = "say('phase', phase='training')\nwhile not stopped: time.sleep(0.02)\nsay('stopped')"
    attempt = site.with_child(SAVING + half + wait).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    with site.shop.database.write() as tx:
        wishes.request_cancel(tx, PROJECT, id=id, now=time.time())
    attempt.result(20)
    assert site.job(id).status is JobStatus.CANCELLED
    [folder] = kept(site, id)
    assert [path.name for path in folder.iterdir()] == ["step-1"]


def test_a_job_whose_loss_left_the_numbers_keeps_its_last_good_checkpoint(site: Site) -> None:
    id = site.submit_training()
    error = {"code": "nan_loss", "message": "the loss is nan at step 7", "user": True}
    site.with_child(SAVING + f"say('failed', error={error!r}); sys.exit(64)").answer()
    assert site.job(id).status is JobStatus.FAILED
    [folder] = kept(site, id)
    assert [path.name for path in folder.iterdir()] == ["step-1"]
