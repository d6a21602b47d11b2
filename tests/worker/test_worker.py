"""A real Celery worker: a killed child costs an attempt and no model, a shutdown costs nothing, however it is asked."""

import os
import signal
from pathlib import Path

from service.client import Client
from tests.end_to_end.processes import until
from tests.service.serving import healthy, training


def test_job_whose_child_is_killed_still_ends_with_one_model(tmp_path: Path) -> None:
    with training(tmp_path, num_steps=320) as (served, client, id):
        os.kill(served.part("worker.child"), signal.SIGKILL)
        job = until(
            lambda: found if (found := healthy(client, id)).status == "succeeded" else None, "its end", seconds=90
        )
        assert (job.attempt, len(list((served.home / "artifacts" / "models").iterdir()))) == (2, 1)
        assert [model.id for model in client.models() if model.id.startswith("ft:")] == [job.fine_tuned_model]
        kinds = [event.data["type"] for event in client.events(id) if event.data["type"] in ("claimed", "released")]
        assert kinds == ["claimed", "released", "claimed"]


def resumptions(client: Client, id: str) -> list[int]:
    """The steps from which attempts went on."""
    return [event.data["step"] for event in client.events(id) if event.data["type"] == "resumed"]


def test_job_goes_on_after_a_shutdown_a_pause_and_a_worker_that_quits(tmp_path: Path) -> None:
    with training(tmp_path, num_steps=32_000) as (served, client, id):
        child = served.part("worker.child")
        os.kill(served.part("--queues train"), signal.SIGTERM)
        until(lambda: child not in served.processes(), "the end of the child", seconds=5)
        until(lambda: healthy(client, id).attempt == 2, "a second attempt")
        released = [event for event in client.events(id) if event.data["type"] == "released"]
        assert [(event.message, event.data["losses"]) for event in released] == [("the worker is shutting down", 0)]
        [first] = until(lambda: resumptions(client, id), "the training", seconds=60)
        assert first >= 1

        client.pause(id)
        paused = until(lambda: found if (found := healthy(client, id)).status == "paused" else None, "it", seconds=15)
        assert paused.attempt == 2 and client.resume(id).status == "queued"
        until(lambda: len(resumptions(client, id)) == 2, "the training", seconds=60)
        assert resumptions(client, id)[1] > first

        worker, child = served.part("--queues train"), served.part("worker.child")
        os.kill(worker, signal.SIGQUIT)  # without any patience
        until(lambda: not {worker, child} & set(served.processes()), "the end of worker and child", seconds=10)
        assert healthy(client, id).status in ("queued", "running")

        client.cancel(id)
        until(lambda: client.job(id).status == "cancelled", "the end of a cancelled job", seconds=15)
