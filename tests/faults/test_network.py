"""The broker and the way to it may fail in any manner: requests do not notice, jobs start a little later."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.end_to_end.processes import until
from tests.faults.real_stack import QUEUE, RealStack, real_stack

NORMAL_SECONDS = 1.0
"""Of a request; one that waited for the broker would take three at least."""
HEALED_SECONDS = 35.0
"""Until a worker takes a job again: 10 s until a silent connection is given up, some to connect, and a sweep."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    with real_stack(tmp_path_factory.mktemp("network")) as stack:
        stack.start_worker()
        yield stack


def submit(stack: RealStack) -> str:
    """A job, after a request that took no longer than any other."""
    id, seconds = stack.submit()
    assert seconds < NORMAL_SECONDS
    return id


def cancelled(stack: RealStack, id: str) -> bool:
    """Whether the job, once it has begun, ends by its user's wish: the next one need not wait for it."""
    stack.wait_for_attempt(id, seconds=HEALED_SECONDS)
    if stack.client.job(id).status == "running":
        stack.client.cancel(id)
    return until(lambda: stack.client.job(id).status in ("cancelled", "succeeded"), "its end")


def test_a_broker_that_is_away_holds_up_no_request_and_what_waits_starts_when_it_is_back(stack: RealStack) -> None:
    stack.kill("broker")
    id = submit(stack)
    until(lambda: stack.degraded() == ["broker"], "a gateway that says so", seconds=15)
    assert stack.client.job(id).status == "queued"
    stack.start_broker()
    assert cancelled(stack, id)
    until(lambda: stack.degraded() == [], "a gateway that is well again", seconds=15)


def test_a_broker_that_is_full_holds_up_no_request(stack: RealStack) -> None:
    with redis.Redis(port=stack.broker_port) as broker:
        broker.config_set("maxmemory", "1")
        id = submit(stack)
        broker.config_set("maxmemory", "0")
    assert cancelled(stack, id)


def test_connections_that_are_reset_again_and_again_double_nothing(stack: RealStack) -> None:
    ids = []
    for _ in range(3):
        stack.proxy.reset()
        ids.append(submit(stack))
    stack.proxy.reset()
    assert all(cancelled(stack, id) for id in ids)
    assert [stack.client.job(id).attempt for id in ids] == [1, 1, 1]


def test_a_worker_whose_acknowledgement_was_swallowed_takes_the_next_job(tmp_path: Path) -> None:
    with real_stack(tmp_path) as stack:
        worker = stack.start_worker()
        pool = stack.part_of(worker, "spawn_main")
        with redis.Redis(port=stack.broker_port) as broker:
            os.kill(pool, signal.SIGSTOP)  # it takes the message from the main process and does not say so yet
            first = submit(stack)
            until(lambda: broker.hlen("unacked") == 1 and broker.llen(QUEUE) == 0, "a message on its way")
        stack.proxy.cut()
        os.kill(pool, signal.SIGCONT)
        stack.wait_for_attempt(first)
        second = submit(stack)
        log = stack.processes.log("worker")
        until(lambda: "Couldn't ack" in log.read_text(), "an acknowledgement that failed", seconds=20)
        stack.proxy.heal()
        assert cancelled(stack, first) and cancelled(stack, second)
