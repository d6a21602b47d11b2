"""A gateway that dies while it tells a webhook loses no event: another one tells it, under the same id."""

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from service.store import deliveries, jobs, webhooks
from service.store.database import Database, migrate, now_of
from service.store.queue import QUEUE_OF
from service.store.records import JobKind, Page
from service.store.signals import DeliveryRecord, DeliveryStatus, EventType
from service.store.waiting import waiting_job
from tests.end_to_end.processes import Processes, answers, free_port, until
from tests.service.receiver import receiving


def told_of_an_end(database: Database, url: str) -> str:
    """The id of an endpoint of that URL, for which an event lies in the database."""
    job = waiting_job(JobKind.MINE, project="default", spec={}, now=1.0)
    with database.write() as tx:
        made = webhooks.create_endpoint(tx, "default", name="n", url=url, event_types=[*EventType], now=1.0)
        jobs.insert(tx, job)
        assert jobs.claim(tx, QUEUE_OF[JobKind.MINE], owner="me", now=2.0)
        assert jobs.succeed(tx, job.id, attempt=1, now=3.0, result={})
    return made.id


def start(processes: Processes, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """A gateway that answers."""
    port = free_port()
    process = processes.start("gateway", ["infonce", "gateway", "--port", str(port)], environment=environment)
    processes.wait_for("gateway", partial(answers, f"http://127.0.0.1:{port}/healthz"))
    return process


def test_what_a_killed_gateway_had_begun_to_tell_is_told_by_the_next(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    database = Database.open(url)
    environment = {"INFONCE_DATABASE_URL": url, "INFONCE_ARTIFACTS": str(tmp_path / "artifacts")}
    environment |= {"INFONCE_BROKER_URL": "redis://127.0.0.1:1/0", "INFONCE_WEBHOOK_ALLOW_PRIVATE": "1"}
    with receiving() as receiver, Processes(tmp_path) as processes:
        receiver.may_answer.clear()
        endpoint = told_of_an_end(database, receiver.url)
        first = start(processes, environment)
        until(lambda: len(receiver.received) == 1, "the first try")
        first.kill()
        first.wait()
        hurry(database, endpoint)
        start(processes, environment)
        until(lambda: len(receiver.received) == 2, "the second try")
        receiver.may_answer.set()
        until(lambda: log(database, endpoint)[0].status is DeliveryStatus.DELIVERED, "the delivery")
    before, after = receiver.received
    assert before.headers["webhook-id"] == after.headers["webhook-id"] and before.body == after.body
    assert [one.attempts for one in log(database, endpoint)] == [2]
    database.close()


def log(database: Database, endpoint: str) -> list[DeliveryRecord]:
    with database.read() as tx:
        return deliveries.page_deliveries(tx, endpoint, page=Page())[0]


def hurry(database: Database, endpoint: str) -> None:
    """The claim of a sender that is gone has ended, as it does by itself after a minute."""
    (one,) = log(database, endpoint)
    with database.write() as tx:
        deliveries.replay(tx, endpoint, id=one.id, now=now_of(tx) - 2 * deliveries.CLAIM_SECONDS)
