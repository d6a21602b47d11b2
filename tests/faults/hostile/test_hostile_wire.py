"""H13 to H19: what breaks the rules of HTTP itself, or uses them to hold the gateway up, over raw sockets."""

import time

import pytest

from tests.faults.hostile.gateway import Hostile
from tests.faults.hostile.wire import Answer, connected, exchange, head, read, refused, unharmed

JOBS = "/v1/fine_tuning/jobs"
JSON = "application/json"
FORM = "multipart/form-data; boundary=abc"
FILE = b'--abc\r\ncontent-disposition: form-data; name="file"; filename="p.jsonl"\r\n\r\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("path", "content_type", "length", "limit"),
    [
        (JOBS, JSON, 2_000_000, "1048576"),
        (JOBS, JSON, 10**18, "1048576"),
        ("/v1/embeddings", JSON, 9 << 20, "8388608"),
        ("/v1/collections/pets/documents", JSON, 33 << 20, "33554432"),
        ("/v1/files", FORM, 1 << 40, "4259840"),
    ],
)
def test_h13_a_body_that_says_it_is_too_long_is_refused_unread(
    hostile: Hostile, path: str, content_type: str, length: int, limit: str
) -> None:
    with unharmed(hostile):
        asked = head("POST", path, key=hostile.key, content_type=content_type, content_length=str(length))
        answer = exchange(hostile, asked, b" " * 300_000)
        assert limit in refused(answer, 413, "too_large")["detail"] and answer.is_closed


@pytest.mark.parametrize(("path", "content_type"), [(JOBS, JSON), ("/v1/files", FORM)])
def test_h14_a_body_without_a_length_is_refused_at_the_limit(hostile: Hostile, path: str, content_type: str) -> None:
    with unharmed(hostile):
        asked = head("POST", path, key=hostile.key, content_type=content_type, transfer_encoding="chunked")
        answer = exchange(hostile, asked, chunk(FILE), *[chunk(b" " * (1 << 20)) for _ in range(6)])
        refused(answer, 413, "too_large")
        assert answer.is_closed


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: -1\r\n\r\n",
        b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"content-length: 1e3\r\n\r\n",
        b"transfer-encoding: gzip\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\nzz\r\n{}",
        b"transfer-encoding: chunked\r\n\r\n" + b"1" * 40 + b"\r\n{}",
        b"transfer-encoding: chunked\r\n\r\n-2\r\n{}",
        b"bad name: x\r\n\r\n",
        b"x: a\x00b\r\n\r\n",
        b"no colon\r\n\r\n",
    ],
)
def test_h15_a_framing_that_can_be_read_two_ways_is_refused(hostile: Hostile, fields: bytes) -> None:
    with unharmed(hostile):
        asked = head("POST", JOBS, key=hostile.key, content_type=JSON).removesuffix(b"\r\n") + fields
        answer = exchange(hostile, asked)
        refused(answer, 400, "bad_request")
        assert answer.is_closed


SLOW = [
    (JOBS, JSON, b'{"model"'),
    ("/v1/files", FORM, FILE + b'{"query": "a", "posi'),
    ("/v1/collections/pets/documents", "application/x-ndjson", b'{"id": "a", "vec'),
]


@pytest.mark.parametrize(("path", "content_type", "begun"), SLOW)
def test_h16_a_body_that_stops_is_given_up_and_nothing_of_it_is_kept(
    hasty: Hostile, path: str, content_type: str, begun: bytes
) -> None:
    with unharmed(hasty):
        asked = head("POST", path, key=hasty.key, content_type=content_type, content_length="100000")
        began = time.monotonic()
        answer = exchange(hasty, asked, begun)
        assert 0.9 < time.monotonic() - began < 5
        assert "100000" not in refused(answer, 408, "request_timeout")["detail"] and answer.is_closed


def test_h16_a_body_that_drips_is_given_up_and_an_honest_slow_one_is_taken(hasty: Hostile) -> None:
    with unharmed(hasty):
        drip, slow = dripped(hasty, num_bytes=20, every=0.1), dripped(hasty, num_bytes=400, every=0.1)
        refused(drip, 408, "request_timeout")
        refused(slow, 422, "invalid_json")  # 4,000 bytes a second: all of it was read


def dripped(hasty: Hostile, *, num_bytes: int, every: float, times: int = 15) -> Answer:
    """The answer to a body that comes in pieces, each a while after the one before."""
    size = num_bytes * times
    with connected(hasty) as wire:
        wire.sendall(head("POST", JOBS, key=hasty.key, content_type=JSON, content_length=str(size)))
        wire.settimeout(every)
        for _ in range(times):
            wire.sendall(b"x" * num_bytes)
            try:
                answer = read(wire)
            except TimeoutError:  # none yet
                continue
            assert answer is not None
            return answer
        wire.settimeout(5)
        last = read(wire)
    assert last is not None
    return last


def test_h17_who_says_nothing_is_hung_up_on(hasty: Hostile) -> None:
    with unharmed(hasty), connected(hasty) as wire:
        began = time.monotonic()
        assert wire.recv(1) == b"" and 0.9 < time.monotonic() - began < 5


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_h17_a_header_that_drips_is_given_up_also_on_a_kept_connection(hasty: Hostile, first: bytes) -> None:
    with unharmed(hasty), connected(hasty) as wire:
        if first:
            wire.sendall(first)
            assert (ok := read(wire)) is not None and ok.status == 200
        began = time.monotonic()
        wire.settimeout(0.1)
        answer = None
        for _ in range(50):
            wire.sendall(b"G")
            try:
                answer = read(wire)
                break
            except TimeoutError:
                continue
        assert answer is not None and 0.9 < time.monotonic() - began < 5
        refused(answer, 408, "request_timeout")


def test_h17_the_rest_of_a_body_that_was_refused_does_not_hold_the_connection(hasty: Hostile) -> None:
    with unharmed(hasty), connected(hasty) as wire:
        wire.sendall(head("POST", JOBS, content_type=JSON, content_length="100000"))
        assert (answer := read(wire)) is not None and answer.status == 401
        began = time.monotonic()
        try:
            while time.monotonic() - began < 10:
                wire.sendall(b"x")
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert time.monotonic() - began < 6


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
TOO_LARGE = {
    "a field of 1 MB": HEALTH + b"x: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "a field of 40 KB": HEALTH + b"x: " + b"a" * 40_000 + b"\r\n\r\n",
    "10,000 fields": HEALTH + b"x: a\r\n" * 10_000 + b"\r\n",
    "101 fields": HEALTH + b"x: a\r\n" * 100 + b"\r\n",
    "a path of 100 KB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "a query of 8 KB": b"GET /healthz?" + b"a" * 8_192 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "1 MB of no header": b"a" * (1 << 20),
}


@pytest.mark.parametrize("asked", TOO_LARGE.values(), ids=TOO_LARGE)
def test_h18_a_header_larger_than_any_honest_one_is_refused(hostile: Hostile, asked: bytes) -> None:
    with unharmed(hostile):
        answer = exchange(hostile, asked)
        refused(answer, 400, "bad_request")
        assert answer.is_closed


def test_h18_a_header_of_honest_size_is_taken(hostile: Hostile) -> None:
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"a" * 200) for number in range(90))
    answer = exchange(hostile, b"GET /healthz?" + b"a" * 8_000 + b" HTTP/1.1\r\nhost: x\r\n" + fields + b"\r\n")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /healthz HTTP/2.0\r\nhost: x\r\n\r\n", 400, "bad_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400, "bad_request"),
        (b"GET  /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 400, "bad_request"),
        (b"TRACE /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"BREW /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"get /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"CONNECT /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n", 404, "not_found"),
    ],
)
def test_h19_what_is_no_request_of_ours_is_refused_in_json(
    hostile: Hostile, asked: bytes, status: int, code: str
) -> None:
    with unharmed(hostile):
        refused(exchange(hostile, asked), status, code)


def test_h19_http_1_0_is_answered_and_closed(hostile: Hostile) -> None:
    with connected(hostile) as wire:
        wire.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = read(wire)
        assert answer is not None and answer.status == 200 and answer.is_closed


def test_h19_pipelined_requests_are_answered_in_their_order(hostile: Hostile) -> None:
    paths = ("/healthz", "/nowhere", "/readyz", "/healthz")
    with connected(hostile) as wire:
        wire.sendall(b"".join(head("GET", path, key=hostile.key) for path in paths[:-1]))
        wire.sendall(head("GET", paths[-1], connection="close"))
        got = b""
        while data := wire.recv(65_536):
            got += data
    assert got.count(b"HTTP/1.1 ") == 4
    assert got.index(b'{"status":"ok"}') < got.index(b"/nowhere") < got.index(b'"ready"')


def test_h19_an_upgrade_to_websocket_is_an_ordinary_request(hostile: Hostile) -> None:
    with unharmed(hostile):
        fields = {"connection": "upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
        assert exchange(hostile, head("GET", "/healthz", **fields)).status == 200
