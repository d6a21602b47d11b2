"""How long the shipped stack takes to notice and to obey: `python -m tests.faults.latency` prints a table.

Every time is the product's own; a run takes about three minutes and ends with an error if a limit is not kept.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from tests.end_to_end.processes import until
from tests.factories import toy_pairs
from tests.faults.real_stack import QUEUE, RealStack, real_stack
from tests.faults.stack import is_alive

LONG = 32_000
LARGE_BATCH = 4_096

Row = tuple[str, float, float]
"""What was measured, its seconds, and how many it may be."""


def main() -> None:
    """Prints the table."""
    over = False
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, real_stack(Path(folder)) as stack:
        for measure in (after_a_kill, after_a_shutdown, after_a_wish, after_a_wiped_broker):
            for what, seconds, limit in measure(stack):
                print(f"{seconds:6.1f} s  at most {limit:3.0f} s  {what}", flush=True)
                over = over or seconds > limit
    sys.exit(over)


def after_a_kill(stack: RealStack) -> list[Row]:
    """The worker that trains is killed; another one waits."""
    first = stack.start_worker("first")
    id, _ = stack.submit(num_steps=LONG)
    until(lambda: steps(stack, id, attempt=1), "a first step", seconds=120)
    stack.start_worker("second")
    began = time.monotonic()
    os.kill(first, signal.SIGKILL)
    claimed = since(began, lambda: stack.client.job(id).attempt == 2)
    stepped = since(began, lambda: bool(steps(stack, id, attempt=2)))
    stack.kill("first")
    stack.client.cancel(id)
    ended = since(time.monotonic(), lambda: stack.client.job(id).status == "cancelled")
    stack.kill("second")
    return [
        ("from a worker's SIGKILL until its job is claimed again", claimed, 70),
        ("from a worker's SIGKILL until the job's next step", stepped, 85),
        ("from a wish to cancel a training until it has ended", ended, 15),
    ]


def after_a_shutdown(stack: RealStack) -> list[Row]:
    """The only worker is shut down in the middle of a training, and later there is another."""
    worker = stack.start_worker("third")
    id, _ = stack.submit(num_steps=LONG)
    until(lambda: steps(stack, id, attempt=1), "a first step", seconds=120)
    child = stack.part_of(worker, "worker.child")
    began = time.monotonic()
    os.kill(worker, signal.SIGTERM)
    gone = since(began, lambda: not is_alive(child))
    since(began, lambda: not is_alive(worker))
    stack.kill("third")
    stack.start_worker("fourth")
    began = time.monotonic()
    claimed = since(began, lambda: stack.client.job(id).attempt == 2)
    stepped = since(began, lambda: bool(steps(stack, id, attempt=2)))
    assert stack.client.job(id).error is None
    stack.client.cancel(id)
    until(lambda: stack.client.job(id).status == "cancelled", "its end")
    return [
        ("from SIGTERM until the child is gone", gone, 5),
        ("from a worker that is up until the job is claimed", claimed, 15),
        ("from a worker that is up until the job's next step", stepped, 15),
    ]


def after_a_wish(stack: RealStack) -> list[Row]:
    """A training with batches of 4,096 is paused, resumed and cancelled in the middle of a step."""
    pairs = [{"anchor": pair.anchor, "positive": pair.positive} for pair in toy_pairs(LARGE_BATCH)]
    small = (stack.folder / "pairs.jsonl").read_text()
    (stack.folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    id, _ = stack.submit(num_steps=LONG, batch_size=LARGE_BATCH)
    (stack.folder / "pairs.jsonl").write_text(small)
    until(lambda: steps(stack, id, attempt=1), "a first step", seconds=120)
    stack.client.pause(id)
    paused = since(time.monotonic(), lambda: stack.client.job(id).status == "paused")
    stack.client.resume(id)
    until(lambda: steps(stack, id, attempt=2), "another step", seconds=120)
    stack.client.cancel(id)
    cancelled = since(time.monotonic(), lambda: stack.client.job(id).status == "cancelled")
    return [
        ("from a wish to pause, at batch 4,096, until the job is paused", paused, 15),
        ("from a wish to cancel, at batch 4,096, until the job has ended", cancelled, 15),
    ]


def after_a_wiped_broker(stack: RealStack) -> list[Row]:
    """All messages are lost while a job waits behind another, which then ends."""
    ahead, _ = stack.submit(num_steps=LONG)
    stack.wait_for_attempt(ahead)
    behind, _ = stack.submit(num_steps=LONG)
    with redis.Redis(port=stack.broker_port) as broker:
        until(lambda: broker.llen(QUEUE) > 0, "a message that waits")
        began = time.monotonic()
        broker.flushall()
    stack.client.cancel(ahead)
    claimed = since(began, lambda: stack.client.job(behind).attempt == 1)
    stack.client.cancel(behind)
    return [("from FLUSHALL until a job that waited is claimed", claimed, 40)]


def steps(stack: RealStack, id: str, *, attempt: int) -> int:
    """How many the training has made, once that attempt has made one."""
    job = stack.client.job(id)
    assert job.error is None, job.error
    return int(job.progress.step or 0) if job.attempt == attempt and job.phase == "training" else 0


def since(began: float, ask: Callable[[], bool]) -> float:
    """The seconds from `began` until the answer is true."""
    until(ask, "what is measured", seconds=150)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
