"""Too much at once: full classes, full connections, who never reads, 300 slow sockets, 1,000 hostile requests."""

import http.client
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.processes import until
from tests.faults.hostile.gateway import ROOT, Hostile, attacked
from tests.faults.hostile.test_hostile_json import BODIES, ROUTES
from tests.faults.hostile.test_hostile_uploads import FILE, FORM, FORMS, LINES, send, upload
from tests.faults.hostile.test_hostile_wire import TOO_LARGE
from tests.faults.hostile.wire import Answer, ask, connected, exchange, head, post, read, refused, unharmed

JOBS = "/v1/fine_tuning/jobs"
JSON = "application/json"


@contextmanager
def stalled(hostile: Hostile, num: int, *, path: str, content_type: str, length: int) -> Iterator[list[socket.socket]]:
    """So many requests whose bodies have begun and do not go on."""
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(hostile)) for _ in range(num)]
        for wire in wires:
            fields = {"content_type": content_type, "content_length": str(length)}
            wire.sendall(head("POST", path, key=hostile.key, **fields) + FILE)
        yield wires


def test_large_bodies_beyond_their_places_are_refused_and_nothing_else_is(small: Hostile) -> None:
    with unharmed(small), stalled(small, 2, path="/v1/files", content_type=FORM, length=100_000):
        until(lambda: len(parts(small)) == 2, "both have begun")
        for answer in (upload(small, b" " * 100_000), post(small, "/v1/embeddings", b" " * 100_000)):
            assert "2 large bodies are at work" in refused(answer, 503, "overloaded")["detail"]
        refused(upload(small, b"{}"), 422, "dataset_invalid")
        for path in ("/healthz", "/readyz", "/v1/jobs"):
            assert ask(small, "GET", path).status == 200
        refused(post(small, JOBS, b"{}"), 422, "missing_field")
        refused(post(small, "/v1/embeddings", b"{}"), 422, "missing_field")


def parts(hostile: Hostile) -> list[str]:
    """The part files of unfinished uploads."""
    return [path for path in hostile.files() if path.startswith("tmp/")]


def test_a_burst_of_small_requests_waits_for_its_places_and_is_served(hostile: Hostile) -> None:
    rows = [{"id": str(number), "vector": [1.0] * 8} for number in range(20)]
    body = json.dumps({"documents": rows}).encode()
    with ThreadPoolExecutor(40) as crowd:
        sent = [crowd.submit(post, hostile, "/v1/collections/pets/documents", body) for _ in range(80)]
    assert {future.result().status for future in sent} == {200}


def test_who_sends_a_small_body_slowly_keeps_nobody_out(small: Hostile) -> None:
    with unharmed(small), stalled(small, 5, path=JOBS, content_type=JSON, length=10_000):
        refused(post(small, JOBS, b"{}"), 422, "missing_field")  # there is one place for changes


def test_with_every_connection_at_work_a_new_one_is_told_when_to_come_again(small: Hostile) -> None:
    with stalled(small, 8, path=JOBS, content_type=JSON, length=10_000), connected(small) as wire:
        answer = read(wire)  # it is told before it asks
        assert answer is not None and answer.is_closed
        assert "8 connections" in refused(answer, 503, "overloaded")["detail"]
    until(lambda: ask(small, "GET", "/healthz").status == 200, "there is room again")


def test_a_kept_connection_gives_way_to_a_new_one(small: Hostile) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(small)) for _ in range(8)]
        for wire in wires:
            wire.sendall(head("GET", "/healthz"))
            assert read(wire) is not None
        assert ask(small, "GET", "/healthz").status == 200
        assert wires[0].recv(1) == b""  # the one that was idle for longest


def test_sockets_that_say_nothing_keep_nobody_out(small: Hostile) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connected(small))
        began = time.monotonic()
        until(lambda: ask(small, "GET", "/healthz").status == 200, "a place is made", seconds=5)
        assert time.monotonic() - began < 3  # long before the deadline of 10 s


def test_who_never_reads_an_answer_is_cut_off(hasty: Hostile) -> None:
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        wire.connect(("127.0.0.1", hasty.port))
        until(lambda: is_open(hasty, wire), "it is accepted")
        wire.sendall(head("GET", "/docs/swagger-ui-bundle.js") * 20)  # more than both ends can hold
        until(lambda: not is_open(hasty, wire), "the gateway closed its end", seconds=10)
    assert ask(hasty, "GET", "/healthz").status == 200


def is_open(hostile: Hostile, wire: socket.socket) -> bool:
    """Whether the gateway holds its end of the connection."""
    return wire.getsockname()[1] in callers(hostile)


def callers(hostile: Hostile) -> list[int]:
    """The ports of the clients whose connections the gateway holds (proc(5), net/tcp: ends, state, inode)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = [row for row in rows if row[1].endswith(f":{hostile.port:04X}") and row[9] != "0" and row[3] == "01"]
    return [int(row[2].rpartition(":")[2], 16) for row in ours]


DRIP = """import selectors, socket, sys, time
port, num, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
HEADER = b"GET /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\nx: "
BODY = f"POST /v1/fine_tuning/jobs HTTP/1.1\\r\\nhost: x\\r\\nauthorization: Bearer {key}\\r\\n".encode()
BODY += b"content-type: application/json\\r\\ncontent-length: 50000\\r\\n\\r\\n{"
def begin(number):
    wire = socket.create_connection(("127.0.0.1", port))
    wire.sendall((b"", HEADER, BODY)[number % 3])
    return wire
wires = [begin(number) for number in range(num)]
print("ready", flush=True)
while True:
    for number, wire in enumerate(wires):
        time.sleep(1 / num)
        try:
            wire.sendall((b"G", b"x", b" ")[number % 3])
        except OSError:
            wires[number] = begin(number)
"""


@contextmanager
def dripping(hostile: Hostile, num: int) -> Iterator[None]:
    """So many sockets that send a byte a second: of no header yet, of a header, of a body."""
    command = [sys.executable, "-c", DRIP, str(hostile.port), str(num), hostile.key]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def latencies(hostile: Hostile, num: int) -> list[float]:
    """Milliseconds of so many cheap requests that need key and database, over one connection."""
    client = http.client.HTTPConnection("127.0.0.1", hostile.port, timeout=10)
    found = []
    for _ in range(num):
        began = time.perf_counter()
        client.request("GET", "/v1/collections/pets", headers={"authorization": f"Bearer {hostile.key}"})
        assert client.getresponse().read()
        found.append((time.perf_counter() - began) * 1_000)
    client.close()
    return found


def p99(found: list[float]) -> float:
    return sorted(found)[int(len(found) * 0.99)]


def test_an_answer_on_a_kept_connection_waits_for_no_acknowledgement(hostile: Hostile) -> None:
    assert statistics.median(latencies(hostile, 60)) < 30  # with Nagle's algorithm it is 40 at least


def test_h17_300_slow_sockets_leave_the_p99_of_others_under_twice_its_normal_value(hostile: Hostile) -> None:
    for attempt in range(3):  # the machine is shared: what slows one attempt down is not there in all of them
        normal: list[float] = []
        slow: list[float] = []
        for _ in range(3):
            latencies(hostile, 30)
            normal += latencies(hostile, 150)
            with dripping(hostile, 300):
                latencies(hostile, 30)  # they have just come, all at once
                slow += latencies(hostile, 150)
                assert len(callers(hostile)) >= 290  # those that were given up come again within a second
        print(f"attempt {attempt}: p99 {p99(normal):.1f} ms alone, {p99(slow):.1f} ms beside 300 slow sockets")
        if p99(slow) < 2 * p99(normal):
            return
    raise AssertionError("the p99 was twice the normal one in every attempt")


def attacks(hostile: Hostile) -> list[Callable[[], Answer]]:
    """One request of each hostile kind that the tables know."""
    return [
        *[lambda path=path, raw=raw: post(hostile, path, raw) for path in ROUTES for _, raw, _, _ in BODIES],
        *[lambda form=form: send(hostile, form[1], form[0]) for form in FORMS.values()],
        *[lambda line=line: upload(hostile, line[0]) for line in LINES.values()],
        *[lambda asked=asked: exchange(hostile, asked) for asked in TOO_LARGE.values()],
        *[lambda size=size: post(hostile, JOBS, b" " * size) for size in (1 << 20, 2 << 20, 8 << 20)],
        *[lambda n=n: ask(hostile, "GET", f"/v1/models/{'a' * n}") for n in (1, 100, 5_000)],
    ]


@pytest.mark.parametrize("seed", [20261125])
def test_1000_hostile_requests_leave_the_memory_flat(hostile: Hostile, seed: int) -> None:
    kinds = attacks(hostile)
    order = random.Random(seed).choices(kinds, k=1_000)
    with unharmed(hostile):
        for attack in kinds:  # each was met once: what is loaded on first use is loaded
            attack()
        before, _ = hostile.memory()
        statuses = [attack().status for attack in order]
        after, peak = hostile.memory()
    print(f"seed {seed}: {before:.0f} MB before 1,000 hostile requests, {after:.0f} MB after, {peak:.0f} MB at most")
    assert abs(after - before) <= 50 and peak - before <= 50
    assert not [status for status in statuses if not 400 <= status < 500]


def test_slow_clients_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with attacked(tmp_path, body_idle_seconds=1.0) as ending, ExitStack() as stack:
        for sent in (b"", b"GET /hea", head("GET", "/v1/files"), head("POST", JOBS) + b"x" * 100):
            stack.enter_context(connected(ending)).sendall(sent)
        stack.enter_context(stalled(ending, 3, path=JOBS, content_type=JSON, length=10_000))
        began = time.monotonic()
        ending.process.terminate()
        assert ending.process.wait(15) == -signal.SIGTERM and time.monotonic() - began < 5
        assert "ERROR" not in (ending.home / "log.txt").read_text()
