"""A running job pauses after its last finished step, and goes on from there when it is resumed."""

import time
from collections.abc import Callable

import pytest

from service.store import catalog, curves, jobs, wishes
from service.store.records import JobStatus, Phase
from tests.end_to_end.processes import until
from tests.worker.conftest import PROJECT, Site

SAVING = """
say("phase", phase="training")
while not stopped: time.sleep(0.02)
folder = Path(order["checkpoints"])
(folder / "step-000000007").mkdir(parents=True)
say("saved", step=7)
say("stopped")"""
RESUMING = "assert len(order['inherited']) == 1\nfinish_training()"


def wish(site: Site, id: str, ask: Callable[..., object]) -> None:
    with site.shop.database.write() as tx:
        ask(tx, PROJECT, id=id, now=time.time())


def test_a_running_job_saves_and_pauses_and_goes_on_when_resumed(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child(SAVING).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    wish(site, id, wishes.request_pause)
    attempt.result(10)
    paused = site.job(id)
    assert (paused.status, paused.losses, paused.saved_step) == (JobStatus.PAUSED, 0, 7)
    site.with_child(RESUMING).answer()
    assert site.job(id).status is JobStatus.PAUSED, "nobody works on a paused job"
    wish(site, id, wishes.request_resume)
    site.with_child(RESUMING).answer()
    assert (site.job(id).status, site.job(id).attempt) == (JobStatus.SUCCEEDED, 2)


@pytest.mark.parametrize(
    ("wishes_in_order", "end"),
    [
        ([wishes.request_pause, wishes.request_cancel], JobStatus.CANCELLED),
        ([wishes.request_pause, wishes.request_resume], JobStatus.QUEUED),
    ],
)
def test_the_last_word_counts_while_the_child_still_stops(
    site: Site, wishes_in_order: list[Callable[..., object]], end: JobStatus
) -> None:
    id = site.submit_training()
    slow = "say('phase', phase='training')\nwhile not stopped: time.sleep(0.02)\nsay('phase', phase='exporting')"
    attempt = site.with_child(f"{slow}\ntime.sleep(1.5)\nsay('stopped')").begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    wish(site, id, wishes_in_order[0])
    until(lambda: site.job(id).phase is Phase.EXPORTING, "the child has heard it")
    wish(site, id, wishes_in_order[1])
    attempt.result(10)
    assert (site.job(id).status, site.job(id).losses) == (end, 0)


FINISHING = """
say("phase", phase="training")
while not Path(order["finish"]).exists(): time.sleep(0.02)
assert not stopped
finish_training()"""


def test_a_training_that_is_to_keep_its_best_ends_early_and_publishes_it(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child(FINISHING).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    wish(site, id, wishes.request_keep)
    attempt.result(10)
    done = site.job(id)
    assert (done.status, done.cancel_requested, done.keep_requested) == (JobStatus.SUCCEEDED, False, True)
    with site.shop.database.read() as tx:
        assert catalog.get_model(tx, PROJECT, id=done.result["model"]).job_id == id


def test_a_paused_training_is_published_from_what_it_has_saved_when_that_is_wished(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child(SAVING).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    wish(site, id, wishes.request_pause)
    attempt.result(10)
    wish(site, id, wishes.request_keep)
    site.with_child("assert len(order['inherited']) == 1" + FINISHING).answer()
    assert (site.job(id).status, site.job(id).attempt) == (JobStatus.SUCCEEDED, 2)


@pytest.mark.parametrize(("saved", "end"), [(0, JobStatus.CANCELLED), (7, JobStatus.QUEUED)])
def test_what_was_to_be_kept_and_is_lost_unsaved_is_cancelled_and_else_goes_on(
    site: Site, saved: int, end: JobStatus
) -> None:
    id = site.submit_training()
    dies = f"say('saved', step={saved})" + FINISHING.replace("finish_training()", "os.kill(os.getpid(), 9)")
    attempt = site.with_child(dies).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    wish(site, id, wishes.request_keep)
    attempt.result(10)
    assert site.job(id).status is end


def test_the_curve_of_a_training_is_told_thinned_and_gone_once_its_report_tells_it(site: Site) -> None:
    id = site.submit_training()
    record = {"loss": 1.0, "learning_rate": 1e-3, "grad_norm": 1.0, "temperature": 0.05, "num_tokens": 9}
    steps = f"for n in range(1, 5001): say('progress', step=n, total_steps=5000, elapsed_seconds=0.1, **{record})\n"
    site.with_child(steps + "say('failed', error={'code': 'c', 'message': 'm'}); sys.exit(64)").answer()
    with site.shop.database.read() as tx:
        told = [point["step"] for point in curves.read(tx, id)]
    assert told == list(range(2, 5001, 3)) and site.job(id).progress == {"step": 5000, "total_steps": 5000, "loss": 1.0}
    other = site.submit_training()
    site.with_child(steps.replace("5001", "9") + "finish_training()").answer()
    with site.shop.database.read() as tx:
        assert (site.job(other).status, curves.read(tx, other)) == (JobStatus.SUCCEEDED, [])


def test_what_a_child_has_saved_forgives_the_losses_before(site: Site) -> None:
    id = site.submit_training()
    losses = []
    for step in (1, 1, 2):
        with site.shop.database.write() as tx:  # the pause between two attempts is over
            tx.exec_driver_sql("UPDATE jobs SET run_after = 0")
        site.with_child(f"say('saved', step={step}); os.kill(os.getpid(), 9)").answer()
        losses.append(site.job(id).losses)
    assert losses == [1, 2, 1]
    with site.shop.database.read() as tx:
        assert jobs.get(tx, PROJECT, id=id).status is JobStatus.QUEUED
