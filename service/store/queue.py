"""The queues: which kind of job waits where, and the bell that wakes a worker.

A message carries a job's id and means only that there is work; the database decides which job is taken.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from service.store.errors import InvalidSetting, QueueUnavailable
from service.store.plain_ping import plain_ping
from service.store.records import JobKind
from service.store.settings import BROKER_URL

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

QUEUE_OF: Final[Mapping[JobKind, str]] = {
    JobKind.TRAIN: "train",
    JobKind.MINE: "medium",
    JobKind.EVALUATE: "medium",
    JobKind.ESTIMATE: "medium",
    JobKind.INDEX: "light",
    JobKind.EXPORT: "light",
}
"""Where a job of each kind waits: work of hours never stands in front of work of minutes, nor that before work of
seconds. Each queue has a worker of its own."""

QUEUES: Final = tuple(dict.fromkeys(QUEUE_OF.values()))

TASK_NAME: Final = "infonce.run"

BROKER_TRANSPORT_OPTIONS: Final[Mapping[str, Any]] = {
    "socket_timeout": 10,  # without it a worker hangs for good after a silent network drop; must exceed BRPOP's 1 s
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": False,
    "max_connections": 20,
    "visibility_timeout": 86_400,  # unused with early acknowledgement, but the shortest among all apps would count
}
"""How every process of ours talks to the broker."""

MAX_WAITING: Final = 100
"""Messages in a queue beyond which none is added: they are all alike, and a sweep repeats them for as long as
jobs wait, so without a bound a long job would let them pile up by the hundred thousand."""

_SCHEMES = ("redis", "rediss", "redis+socket")
_RING_TIMEOUTS = {"socket_timeout": 3, "socket_connect_timeout": 3, "max_retries": 0}
_PING_TIMEOUTS = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}


def kinds_of(queue: str) -> list[JobKind]:
    """The kinds of job that wait in this queue."""
    return [kind for kind, name in QUEUE_OF.items() if name == queue]


def broker_settings(broker_url: str) -> dict[str, Any]:
    """Celery's settings that sender and receiver of a message have to share."""
    from kombu import Exchange, Queue  # deferred: whoever only asks for a queue's name should not wait for it

    return {
        "broker_url": broker_url,
        "broker_transport_options": dict(BROKER_TRANSPORT_OPTIONS),
        "broker_connection_timeout": 5,
        "broker_pool_limit": 4,
        "result_backend": None,  # the job's row is its result
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_protocol": 2,
        "task_publish_retry": False,  # the sweep repeats anyway
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    }


class Doorbell:
    """Rings at the broker; may be shared by threads, and recovers by itself after the broker was away."""

    def __init__(self, broker_url: str) -> None:
        if broker_url.partition("://")[0] not in _SCHEMES:
            raise InvalidSetting(BROKER_URL, f"must begin with one of {', '.join(f'{s}://' for s in _SCHEMES)}")
        self._url = broker_url
        self._lock = threading.Lock()
        self._app: Celery | None = None
        self._connection: Connection | None = None

    def ring(self, job_id: str, queue: str) -> None:
        """A message waits in the queue; never call it inside a request, a broker may take seconds to fail.

        Raises:
            QueueUnavailable: the broker was away, full or silent for 3 s.
        """
        with self._lock, _translated():
            connection = self._connection or self._connect(_RING_TIMEOUTS)
            self._connection = None  # kept only if all goes well: a broken one is never used twice
            try:
                if connection.default_channel.client.llen(queue) < MAX_WAITING:
                    self._send(connection, job_id, queue=queue)
                self._connection = connection
            finally:
                if self._connection is None:
                    connection.release()

    def clear(self, queues: Sequence[str]) -> None:
        """No message waits in these queues, whatever it was; jobs that wait have to be rung again.

        Raises:
            QueueUnavailable: the broker was away or silent for 3 s.
        """
        with _translated(), self._connect(_RING_TIMEOUTS) as connection:
            for queue in queues:
                connection.default_channel.queue_purge(queue)

    def ping(self) -> bool:
        """Whether the broker answers within a second."""
        if (answers := plain_ping(self._url)) is not None:
            return answers
        try:
            with _translated(), self._connect(_PING_TIMEOUTS) as connection:
                return bool(connection.default_channel.client.ping())
        except QueueUnavailable:
            return False

    def close(self) -> None:
        """The connection is given back; the next ring opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.release()

    def _send(self, connection: "Connection", job_id: str, *, queue: str) -> None:
        if self._app is None:
            from celery import Celery  # deferred: 0.3 s, at the first ring instead of at the start

            self._app = Celery("infonce.doorbell", set_as_current=False)
            self._app.conf.update(broker_settings(self._url))
        with self._app.amqp.Producer(connection) as producer:
            self._app.send_task(TASK_NAME, args=[job_id], queue=queue, producer=producer, retry=False)

    def _connect(self, timeouts: Mapping[str, Any]) -> "Connection":
        from kombu import Connection

        options = {**BROKER_TRANSPORT_OPTIONS, **timeouts}
        return Connection(self._url, connect_timeout=timeouts["socket_connect_timeout"], transport_options=options)


@contextmanager
def _translated() -> Iterator[None]:
    """No exception of kombu, redis-py or the socket leaves."""
    from kombu.exceptions import KombuError
    from redis.exceptions import RedisError

    try:
        yield
    except (KombuError, RedisError, OSError) as error:
        raise QueueUnavailable(str(error) or type(error).__name__) from error
