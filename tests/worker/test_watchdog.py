"""A child that says nothing is killed; one that works slowly is left alone, whatever it does."""

import os
import threading
from dataclasses import replace

import pytest

from service.store import events
from service.store.records import JobStatus, Page
from tests.worker.conftest import Site
from worker.progress import LineProgress, MessageType, read_message


def patient(site: Site, seconds: float) -> Site:
    """The same site with children that may be silent for so long."""
    return replace(site, shop=replace(site.shop, settings=replace(site.shop.settings, stall_seconds=seconds)))


@pytest.mark.parametrize("hang", ["time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_a_child_that_hangs_or_is_frozen_is_killed_as_a_loss(site: Site, hang: str) -> None:
    id = site.submit_training()
    patient(site, 1.0).with_child(f"say('phase', phase='training')\n{hang}").answer()
    with site.shop.database.read() as tx:
        [last], _ = events.page(tx, id, page=Page(limit=1))
    assert (site.job(id).status, site.job(id).losses) == (JobStatus.QUEUED, 1)
    assert (last.type, last.message.split(":")[0]) == ("released", "stalled")


def test_a_child_that_gives_a_sign_is_not_killed_and_the_sign_is_no_event(site: Site) -> None:
    id = site.submit_training()
    script = "for _ in range(40):\n    say('at_work')\n    time.sleep(0.1)\nfinish_training()"
    patient(site, 3.0).with_child(script).answer()
    with site.shop.database.read() as tx:
        types = [event.type for event in events.page(tx, id, page=Page())[0]]
    assert (site.job(id).status, types) == (JobStatus.SUCCEEDED, ["finished", "claimed", "submitted"])


def test_whoever_asks_whether_to_stop_gives_a_sign_now_and_then() -> None:
    reading, writing = os.pipe()
    eager = LineProgress(writing, threading.Event(), sign_seconds=0.0)
    rare = LineProgress(writing, threading.Event())
    assert not eager.stop_requested() and not any(rare.stop_requested() for _ in range(1000))
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        assert [read_message(line) for line in lines] == [(MessageType.AT_WORK, {})]
