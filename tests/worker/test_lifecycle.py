"""An attempt ends in exactly one way, whatever its child does, and leaves nothing half-done."""

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from infonce.hub import Hub
from service.store import catalog, events, jobs, tables, wishes
from service.store.database import Database, Tx
from service.store.errors import DatabaseUnavailable
from service.store.queue import QUEUES
from service.store.records import EventRecord, JobKind, JobStatus, ModelRecord, Page, Phase
from tests.end_to_end.processes import until
from tests.worker.conftest import PROJECT, Site


def all_events(site: Site, id: str) -> list[EventRecord]:
    with site.shop.database.read() as tx:
        return events.page(tx, id, page=Page(limit=100, descending=False))[0]


def all_models(site: Site) -> list[ModelRecord]:
    with site.shop.database.read() as tx:
        return catalog.page_models(tx, PROJECT, page=Page())[0]


def published(site: Site) -> list[Path]:
    return list(site.shop.artifacts.model_path("x").parent.iterdir())


def test_successful_training_publishes_one_sealed_model(site: Site) -> None:
    id = site.submit_training()
    site.with_child("finish_training()").answer()
    job, [model] = site.job(id), all_models(site)
    assert (job.status, job.result["model"]) == (JobStatus.SUCCEEDED, model.id)
    assert (model.id, model.num_bytes) == (f"ft:tiny:faq:{id[-8:]}", len(b"weights"))
    site.shop.artifacts.verify(site.shop.artifacts.model_path(model.folder))
    assert sorted(path.name for path in site.shop.artifacts.run_path(id, 1).iterdir()) == ["log.txt", "order.json"]


def test_a_published_model_has_the_metadata_of_its_job(site: Site) -> None:
    id = site.submit_training()
    with site.shop.database.write() as tx:
        tx.execute(sa.update(tables.jobs).where(tables.jobs.c.id == id).values(metadata={"team": "search"}))
    site.with_child("finish_training()").answer()
    assert [model.metadata for model in all_models(site)] == [{"team": "search"}]


def test_every_line_of_a_workers_log_has_the_ids_of_the_attempt(site: Site, written: io.StringIO) -> None:
    id = site.submit_training()
    site.with_child("finish_training()").answer()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"].partition(": ")[2] for line in lines] == [
        "claimed, attempt 1",
        "attempt 1 ended: Publication",
    ]
    assert {(line["job"], line["attempt"], line["kind"]) for line in lines} == {(id, 1, "train")}


def phases(site: Site, id: str) -> list[str]:
    return [str(event.data["phase"]) for event in all_events(site, id) if event.type == "phase"]


def test_an_index_job_says_that_it_promotes_unless_the_version_stays_beside(site: Site) -> None:
    collection = site.new_collection()
    moving = site.submit_index(collection)
    site.with_child("say('phase', phase='building')\nfinish_index()").answer("light")
    assert (site.job(moving).status, site.job(moving).phase) == (JobStatus.SUCCEEDED, Phase.PROMOTING)
    assert phases(site, moving)[-1] == "promoting"
    beside = {"collection": collection.id, "version": site.job(moving).result["version"], "of_model": None}
    staying = site.submit(JobKind.INDEX, beside, subject=collection.id)
    site.with_child("say('phase', phase='building')\nfinish_index()").answer("light")
    assert site.job(staying).status is JobStatus.SUCCEEDED and phases(site, staying)[-1] == "building"


def test_no_job_means_no_work(site: Site) -> None:
    site.with_child("finish_training()").answer()
    assert all_models(site) == []


def test_order_names_every_input_by_path(site: Site) -> None:
    id = site.submit_training()
    site.with_child("finish_training()").answer()
    order = json.loads((site.shop.artifacts.run_path(id, 1) / "order.json").read_text())
    assert order["model"] == {"name": "acme/tiny", "path": str(site.folder / "base/acme/tiny")}
    assert Path(order["training_file"]["path"]).read_text() == "{}"
    assert (order["validation_file"], order["attempt"], order["threads"]) == (None, 1, 1)


def test_what_the_child_says_is_readable_within_a_second(site: Site) -> None:
    script = """
say("phase", phase="training"); say("progress", step=3, loss=0.5)
say("resolved", values={"a": 1}); say("resolved", values={"b": 2})
say("event", level="info", event="measured", message="bf16 is faster", data={"x": 1})
while not (staging / "go").exists(): time.sleep(0.02)
finish_training()"""
    id = site.submit_training()
    attempt = site.with_child(script).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING and site.job(id).progress, "the phase")
    job = site.job(id)
    assert job.progress == {"step": 3, "loss": 0.5}
    assert until(lambda: "b" in site.job(id).resolved and site.job(id).resolved, "b") == {"a": 1, "b": 2}
    until(lambda: any(event.type == "measured" for event in all_events(site, id)), "the event", seconds=2)
    (site.shop.artifacts.run_path(id, 1) / "staging" / "go").touch()
    attempt.result(20)
    assert [event.type for event in all_events(site, id)][-1] == "finished"


def test_failure_that_the_child_names_ends_the_job(site: Site) -> None:
    id = site.submit_training()
    error = {"code": "nan_loss", "message": "the loss is nan at step 7", "user": True}
    site.with_child(f"say('failed', error={error!r}); sys.exit(64)").answer()
    job = site.job(id)
    assert job.status is JobStatus.FAILED and job.error is not None
    assert (job.error.code, job.error.message, job.error.user) == ("nan_loss", "the loss is nan at step 7", True)
    assert (job.losses, published(site)) == (0, [])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "killed_maybe_oom"),
        ("os.kill(os.getpid(), 11)", "signal 11"),
        ("sys.stderr.write('/secret/place/code.py: boom'); sys.exit(3)", "exit code 3: code.py: boom"),
        ("finish_training(); sys.exit(3)", "exit code 3"),
        ("sys.exit(0)", "exit code 0"),
    ],
)
def test_attempt_that_ends_without_a_word_is_a_loss(site: Site, script: str, reason: str) -> None:
    id = site.submit_training()
    site.with_child(script).answer()
    job, last = site.job(id), all_events(site, id)[-1]
    assert (job.status, job.losses, published(site)) == (JobStatus.QUEUED, 1, [])
    assert job.run_after > time.time()
    assert reason in last.message and "/secret" not in last.message


def test_third_loss_ends_the_job(site: Site) -> None:
    id = site.submit_training()
    killed = site.with_child("os.kill(os.getpid(), 9)")
    for _ in range(3):
        with site.shop.database.write() as tx:  # the pause between two attempts is over
            tx.exec_driver_sql("UPDATE jobs SET run_after = 0")
        killed.answer()
    job = site.job(id)
    assert job.error is not None
    assert (job.status, job.attempt, job.error.code) == (JobStatus.FAILED, 3, "worker_lost")


WAIT = "say('phase', phase='training')\nwhile not stopped: time.sleep(0.02)\nsay('stopped')"


def test_wish_to_cancel_ends_job_and_child(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child(WAIT).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    with site.shop.database.write() as tx:
        wishes.request_cancel(tx, PROJECT, id=id, now=time.time())
    attempt.result(4)
    assert (site.job(id).status, published(site)) == (JobStatus.CANCELLED, [])


def test_child_that_does_not_stop_is_killed_within_fifteen_seconds(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child("say('phase', phase='training')\ntime.sleep(60)").begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    with site.shop.database.write() as tx:
        wishes.request_pause(tx, PROJECT, id=id, now=time.time())
    site.drain_path.touch()  # the worker shuts down as well, and the job is paused all the same
    attempt.result(15)
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.PAUSED, 0)


def test_worker_that_shuts_down_gives_its_job_back_without_a_loss(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child(WAIT).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    site.drain_path.touch()
    attempt.result(4)
    job = site.job(id)
    assert (job.status, job.losses, job.attempt) == (JobStatus.QUEUED, 0, 1)
    site.with_child("finish_training()").answer()
    assert site.job(id).status is JobStatus.QUEUED, "a worker that shuts down begins nothing"
    site.drain_path.unlink()
    site.with_child("finish_training()").answer()
    assert (site.job(id).status, site.job(id).attempt) == (JobStatus.SUCCEEDED, 2)


def test_fenced_attempt_kills_its_child_and_writes_nothing(site: Site) -> None:
    id = site.submit_training()
    attempt = site.with_child(f"say('phase', phase='training'); say('event', message=str(os.getpid()))\n{WAIT}").begin()
    pid = int(until(lambda: [e.message for e in all_events(site, id) if e.type == "note"], "the child's pid")[0])
    with site.shop.database.write() as tx:
        jobs.release(tx, id, attempt=1, now=time.time(), lost=True, reason="reaped")
    attempt.result(10)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.QUEUED, 1)
    assert all_events(site, id)[-1].message == "reaped"


def test_result_of_a_fenced_attempt_is_discarded(site: Site) -> None:
    """The child itself moves the job on, so that its parent hears of the result first."""
    id = site.submit_training()
    url = site.shop.settings.store.database_url.removeprefix("sqlite:///")
    take = f"import sqlite3; c = sqlite3.connect({url!r}); c.execute('UPDATE jobs SET attempt = 2'); c.commit()"
    site.with_child(f"{take}\nfinish_training()").answer()
    assert (site.job(id).status, published(site), all_models(site)) == (JobStatus.RUNNING, [], [])


def test_a_hundred_bells_for_jobs_that_are_done_change_nothing(site: Site) -> None:
    """A late, doubled or foreign bell is the same: what it names is not read, and nothing waits."""
    id = site.submit_training()
    site.with_child("finish_training()").answer()
    before = site.job(id), all_events(site, id), published(site)
    for number in range(100):
        site.with_child("finish_training()").answer(QUEUES[number % 2])
    assert (site.job(id), all_events(site, id), published(site)) == before


class Broken(Hub):
    """A hub that finds no memory."""

    def resolve(self, name: str, **_: Any) -> Any:
        raise MemoryError("Unable to allocate 8 TiB")


def test_memory_error_in_the_parent_stays_there(site: Site) -> None:
    id = site.submit_training()
    broken = replace(site, shop=replace(site.shop, hub=Broken()))
    broken.answer()
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.QUEUED, 1)


class Flaky(Database):
    """A database that can be away, and that can lose the answer to a commit."""

    away = False
    lose_answers = 0

    @contextmanager
    def write(self) -> Iterator[Tx]:
        if self.away:
            raise DatabaseUnavailable("away")
        with super().write() as tx:
            yield tx
        if self.lose_answers:
            self.lose_answers -= 1
            raise DatabaseUnavailable("the answer was lost")


@pytest.fixture
def flaky(site: Site) -> Iterator[Flaky]:
    database = Flaky.open(site.shop.settings.store.database_url)
    yield database
    database.close()


def test_work_goes_on_while_the_database_is_away(site: Site, flaky: Flaky) -> None:
    id = site.submit_training()
    script = "say('phase', phase='training')\nwhile not (staging / 'go').exists(): time.sleep(0.02)\nfinish_training()"
    attempt = replace(site.with_child(script), shop=replace(site.with_child(script).shop, database=flaky)).begin()
    until(lambda: site.job(id).phase is Phase.TRAINING, "the child at work")
    flaky.away = True
    (site.shop.artifacts.run_path(id, 1) / "staging" / "go").touch()
    until(lambda: published(site), "the published folder")
    flaky.away = False
    attempt.result(20)
    assert (site.job(id).status, site.job(id).attempt, len(all_models(site))) == (JobStatus.SUCCEEDED, 1, 1)


def test_commit_whose_answer_was_lost_is_known_again(site: Site, flaky: Flaky) -> None:
    id = site.submit_training()
    script = "while not (staging / 'go').exists(): time.sleep(0.02)\nfinish_training()"
    attempt = replace(site.with_child(script), shop=replace(site.with_child(script).shop, database=flaky)).begin()
    go = site.shop.artifacts.run_path(id, 1) / "staging" / "go"
    until(go.parent.exists, "the staging folder")
    flaky.lose_answers = 1
    go.touch()
    attempt.result(20)
    [model] = all_models(site)
    site.shop.artifacts.verify(site.shop.artifacts.model_path(model.folder))
    assert site.job(id).status is JobStatus.SUCCEEDED
