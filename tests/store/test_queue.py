import json
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest
import redis
from celery import Celery

from service.store.errors import InvalidSetting, QueueUnavailable
from service.store.queue import MAX_WAITING, QUEUE_OF, QUEUES, TASK_NAME, Doorbell, broker_settings, kinds_of
from service.store.records import JobKind


class Broker(Protocol):
    url: str
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...


@pytest.fixture
def bell(broker: Broker) -> Iterator[Doorbell]:
    bell = Doorbell(broker.url)
    yield bell
    bell.close()


@pytest.fixture
def client(broker: Broker) -> Iterator["redis.Redis"]:
    with redis.Redis(port=broker.port) as client:
        yield client


def seconds_to_fail(bell: Doorbell) -> float:
    start = time.monotonic()
    with pytest.raises(QueueUnavailable):
        bell.ring("ftjob-1", "train")
    return time.monotonic() - start


def test_every_kind_of_job_has_a_queue() -> None:
    assert set(QUEUE_OF) == set(JobKind)
    assert [kind for queue in QUEUES for kind in kinds_of(queue)] == list(JobKind)


def test_a_ring_is_one_message_that_holds_the_id_alone(bell: Doorbell, client: "redis.Redis") -> None:
    bell.ring("job-1", "light")
    assert (client.llen("light"), client.llen("train")) == (1, 0)
    envelope: dict[str, Any] = json.loads(client.lindex("light", 0))  # type: ignore[arg-type]
    assert envelope["headers"]["task"] == TASK_NAME
    args, kwargs, _ = json.loads(b64decode(envelope["body"]))
    assert (args, kwargs) == (["job-1"], {})


def test_a_worker_with_our_settings_understands_the_message(bell: Doorbell, broker: Broker) -> None:
    bell.ring("ftjob-1", "train")
    app = Celery("worker", set_as_current=False)
    app.conf.update(broker_settings(broker.url))
    assert set(app.amqp.queues) == set(QUEUES)
    with app.connection_for_read() as connection, connection.SimpleQueue(app.amqp.queues["train"]) as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == TASK_NAME
    assert message.payload[0] == ["ftjob-1"]


def test_threads_may_ring_one_bell(bell: Doorbell, client: "redis.Redis") -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: bell.ring(f"job-{i}", "light"), range(40)))
    assert client.llen("light") == 40


def test_messages_do_not_pile_up(bell: Doorbell, client: "redis.Redis") -> None:
    for i in range(MAX_WAITING + 20):
        bell.ring(f"job-{i}", "light")
    bell.ring("ftjob-1", "train")
    assert (client.llen("light"), client.llen("train")) == (MAX_WAITING, 1)


def test_a_cleared_queue_holds_nothing_whatever_it_held(bell: Doorbell, client: "redis.Redis") -> None:
    bell.ring("ftjob-1", "train")
    bell.ring("job-1", "light")
    for key in ("train", "train\x06\x163"):  # kombu keeps a list for each priority
        client.lpush(key, b"\xff no json", '{"body": 1}')
    bell.clear(["train"])
    assert client.keys("train*") == [] and client.llen("light") == 1


def test_a_bell_rings_again_after_the_broker_was_away(bell: Doorbell, broker: Broker, client: "redis.Redis") -> None:
    bell.ring("job-1", "light")
    assert bell.ping()
    broker.stop()
    assert not bell.ping()
    assert seconds_to_fail(bell) < 4
    assert seconds_to_fail(bell) < 4
    broker.start()
    assert bell.ping()
    bell.ring("job-2", "light")
    assert client.llen("light") == 1  # the first went with the broker: the sweep rings it again


def test_a_refused_connection_fails_at_once(refused_port: int) -> None:
    bell = Doorbell(f"redis://127.0.0.1:{refused_port}/0")
    assert not bell.ping()
    assert seconds_to_fail(bell) < 2


def test_a_silent_broker_fails_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never says a word
        bell = Doorbell(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        start = time.monotonic()
        assert not bell.ping()
        assert time.monotonic() - start < 4
        assert seconds_to_fail(bell) < 10


def test_a_full_broker_is_an_error_of_ours(bell: Doorbell, client: "redis.Redis") -> None:
    client.config_set("maxmemory", 1)
    with pytest.raises(QueueUnavailable, match=r"OOM|memory"):
        bell.ring("job-1", "light")
    client.config_set("maxmemory", 0)
    bell.ring("job-1", "light")
    assert client.llen("light") == 1


def test_a_wrong_password_is_an_error_of_ours_that_does_not_say_it(broker: Broker, client: "redis.Redis") -> None:
    client.config_set("requirepass", "right")
    bell = Doorbell(broker.url.replace("redis://", "redis://:wrong@"))
    assert not bell.ping()
    with pytest.raises(QueueUnavailable) as caught:
        bell.ring("job-1", "light")
    assert "wrong@" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:6379", "amqp://host", "http://host"])
def test_another_kind_of_broker_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="INFONCE_BROKER_URL must begin with"):
        Doorbell(url)


def test_asking_for_a_queues_name_loads_no_celery() -> None:
    code = "import sys, service.store.queue, service.store.jobs; print({'celery', 'kombu', 'redis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
