"""H51: readers of events that take nothing."""

import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from service.settings import EdgeLimits
from service.store import events
from service.store.database import Database
from service.store.events import NewEvent
from tests.end_to_end.processes import until
from tests.faults.hostile.gateway import BASE, Hostile
from tests.faults.hostile.wire import SECONDS, ask, connected, head, post, refused

NUM_READERS = EdgeLimits().num_streams
LIMIT_MB = 64
"""Of growth while 500 readers are told 1 GB: 32 KB of buffers here for each, and what Python and its allocator need."""


def waiting(hostile: Hostile) -> str:
    """The id of a new training."""
    file = ask(hostile, "GET", "/v1/files").json()["data"][0]["id"]
    body = f'{{"model": "{BASE}", "training_file": "{file}"}}'.encode()
    return str(post(hostile, "/v1/fine_tuning/jobs", body).json()["id"])


def begun(wire: socket.socket) -> bytes:
    """What came up to the first event."""
    got = b""
    while b"\ndata: " not in got and b'"error"' not in got:
        data = wire.recv(512)
        assert data, got
        got += data
    return got


def talk(hostile: Hostile, job: str, *, num_events: int) -> None:
    """Something happens to the job, and again, and again: 4 KB each time."""
    database = Database.open(f"sqlite:///{hostile.home / 'store.db'}")
    for at in range(0, num_events, 50):
        with database.write() as tx:
            for number in range(at, at + 50):
                said = {"type": "note", "message": "x" * 4_000, "data": {"number": number}}
                events.append(tx, NewEvent(job_id=job, attempt=1, at=time.time(), **said))
    database.close()


def test_h51_500_readers_that_take_nothing_are_cut_and_memory_stays_flat(start: Callable[..., Hostile]) -> None:
    hostile = start(unread_seconds=1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * NUM_READERS)), hard))
    job, path = waiting(hostile), "/v1/jobs/{}/events/stream"
    with ExitStack() as stack:
        wires = [stack.enter_context(socket.socket()) for _ in range(NUM_READERS)]
        for wire in wires:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            wire.settimeout(SECONDS)
            wire.connect(("127.0.0.1", hostile.port))
            wire.sendall(head("GET", path.format(job), key=hostile.key))
            assert begun(wire).startswith(b"HTTP/1.1 200")
        refused(ask(hostile, "GET", path.format(job)), 503, "overloaded")
        before, _ = hostile.memory()
        talk(hostile, job, num_events=500)

        def has_room() -> bool:
            assert ask(hostile, "GET", "/healthz").status == 200
            with connected(hostile) as wire:
                wire.sendall(head("GET", path.format(job), key=hostile.key))
                return begun(wire).startswith(b"HTTP/1.1 200")

        until(has_room, "the readers that take nothing are cut", seconds=60)
        _, peak = hostile.memory()
    print(f"{NUM_READERS} readers: {before:.0f} MB, {peak:.0f} MB at most")
    assert peak < before + LIMIT_MB
    assert ask(hostile, "GET", f"/v1/jobs/{job}").status == 200


def test_a_stream_breathes_and_does_not_hold_up_the_end_of_the_gateway(start: Callable[..., Hostile]) -> None:
    hostile = start()
    with connected(hostile) as wire:
        wire.settimeout(30)
        wire.sendall(head("GET", f"/v1/jobs/{waiting(hostile)}/events/stream", key=hostile.key))
        got = begun(wire)
        while b"\n: ping\n" not in got.replace(b"\r\n", b"\n"):
            got += wire.recv(512)
        hostile.process.terminate()
        until(lambda: hostile.process.poll() is not None, "the gateway has ended", seconds=5)


def test_h49_of_many_reruns_and_cancels_at_once_every_one_is_answered(hostile: Hostile) -> None:
    job = waiting(hostile)
    root = f"/v1/fine_tuning/jobs/{job}"
    refused(ask(hostile, "POST", f"{root}/rerun"), 409, "conflict")
    assert ask(hostile, "POST", f"{root}/cancel").json()["status"] == "cancelled"
    refused(ask(hostile, "POST", f"{root}/cancel?keep=best"), 409, "job_terminal")
    made = [ask(hostile, "POST", f"{root}/rerun", idempotency_key="again").json()["id"] for _ in range(3)]
    assert len(set(made)) == 1 and made[0] != job
    for key, status, code in (("k" * 10_000, 422, "invalid_value"), ("again", 409, "idempotency_mismatch")):
        other = f"/v1/fine_tuning/jobs/{made[0]}/rerun" if status == 409 else f"{root}/rerun"
        refused(ask(hostile, "POST", other, idempotency_key=key), status, code)
    assert ask(hostile, "POST", f"/v1/jobs/{made[0]}/cancel").status == 200
