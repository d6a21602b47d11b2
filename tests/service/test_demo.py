"""Whatever ends the demo early, nothing of it is left: no process, no job, no traceback."""

import json
import os
import signal
import threading
from pathlib import Path

import httpx2
import pytest

from service.client import Client
from service.demo import MARK, SIZES, Phases, Tour
from service.demo_view import View
from service.store import jobs
from service.store.database import Database
from service.store.records import DEFAULT_PROJECT, JobKind, JobStatus, Page
from service.supervisor import Stack, StackSettings, interruptible
from tests.end_to_end.processes import until
from tests.service.serving import running

BUSY_SECONDS = 120.0
"""On an idle machine the training begins after 13 s, most of which are spent on reading docstrings."""


RUNNING = json.loads(
    """{"id": "ftjob-x", "kind": "train", "status": "running", "phase": "training", "created_at": 0, "started_at": 0,
    "finished_at": null, "metadata": {}, "subject": null, "progress": {}, "result": {}, "result_files": [],
    "error": null, "priority": 0, "keep_requested": false, "cancel_requested": false, "pause_requested": false,
    "attempt": 1}"""
)


def test_ctrl_c_in_the_middle_of_the_training_leaves_nothing_and_no_job(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        demo.part("worker.child", seconds=BUSY_SECONDS)
        assert demo.end(signal.SIGINT) == 130
        demo.assert_gone()
        assert "Traceback" not in demo.output.read_text()
    database = Database.open(f"sqlite:///{demo.home}/infonce.db")
    with database.read() as tx:
        [job], _ = jobs.page(tx, DEFAULT_PROJECT, kinds=[JobKind.TRAIN], page=Page(metadata=MARK))
    database.close()
    assert job.status is JobStatus.CANCELLED


def test_sigterm_while_docstrings_are_read_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        until(lambda: "are ready" in demo.output.read_text(), "the first step", seconds=BUSY_SECONDS)
        assert demo.end(signal.SIGTERM) == 130
        demo.assert_gone()
        assert "Traceback" not in demo.output.read_text()


def test_nothing_outlives_a_kill_of_the_demo_in_the_middle_of_the_training(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        demo.part("worker.child", seconds=BUSY_SECONDS)
        demo.process.kill()
        demo.process.wait()
        demo.assert_gone()


@pytest.mark.parametrize("status", [409, 503])
def test_ctrl_c_stays_ctrl_c_when_the_job_cannot_be_cancelled_any_more(tmp_path: Path, status: int) -> None:
    asked: list[str] = []
    over = threading.Event()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        if request.method == "GET":
            over.set()
            return httpx2.Response(200, json=RUNNING)
        return httpx2.Response(status, json={"error": {"code": "job_terminal", "message": "has succeeded already"}})

    view = View()
    with Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client, view.job() as bar:
        tour = Tour(over=over, client=client, view=view, folder=tmp_path, seed=1, sizes=SIZES)
        with pytest.raises(KeyboardInterrupt):
            tour.follow("ftjob-x", bar, phases=Phases())
    assert asked == ["GET", "POST"]


def test_a_signal_is_not_lost_where_an_exception_would_be(tmp_path: Path) -> None:
    stack = Stack(StackSettings(home=tmp_path, environment={}))

    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1_000):  # the handler runs in here, where whatever is raised is dropped
                pass

    with interruptible(stack):
        Dying()
        with pytest.raises(KeyboardInterrupt):
            stack.watch()
