"""A worker whose queue holds messages that nobody can read begins all the same, and works on what waits."""

from collections.abc import Iterator

import pytest
import redis

from service.store.records import JobStatus
from service.valkey import find_program
from tests.end_to_end.processes import Processes, free_port
from tests.worker.conftest import Site

BROKEN = [b"\xff\xfe no json", b"{}", b'{"body": 1, "headers": {}, "properties": {}}']


@pytest.fixture
def processes(site: Site) -> Iterator[Processes]:
    with Processes(site.folder) as processes:
        yield processes


def test_messages_that_cannot_be_read_are_gone_before_a_worker_begins(site: Site, processes: Processes) -> None:
    port, ready = free_port(), site.folder / "ready"
    processes.start("broker", [str(find_program()), "--port", str(port), "--save", ""], environment={})
    with redis.Redis(port=port) as broker:
        processes.wait_for("broker", lambda: answers(broker))
        for message in BROKEN:
            broker.lpush("train", message)
        id = site.submit_training(model="acme/nowhere")
        environment = {
            "INFONCE_DATABASE_URL": site.shop.settings.store.database_url,
            "INFONCE_BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "INFONCE_ARTIFACTS": str(site.shop.artifacts.root),
            "INFONCE_READY_FILE": str(ready),
        }
        processes.start("worker", ["infonce", "worker", "--queue", "train"], environment=environment)
        processes.wait_for("worker", ready.exists)
        processes.wait_for("worker", lambda: site.job(id).status is JobStatus.FAILED)
        assert broker.llen("train") == 0
        assert processes.end("worker") == 0


def answers(broker: "redis.Redis") -> bool:
    try:
        return bool(broker.ping())
    except redis.ConnectionError:
        return False
