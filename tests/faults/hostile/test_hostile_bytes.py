"""Requests of which some bytes were changed at random, and clients that vanish: no 5xx, and no traceback in the log."""

import random
import socket
import struct
from collections import Counter

import pytest

from tests.faults.hostile.gateway import Hostile
from tests.faults.hostile.test_hostile_uploads import END, FILE, FORM, PURPOSE
from tests.faults.hostile.wire import connected, head, unharmed

PIECES = (b"\r\n", b"\0", b"\xff", b": ", b"%00", b"\r\n\r\n", b"9" * 21, b"-1", b"\x80", b"\t")
PATIENCE_SECONDS = 0.05  # what was changed may be a request that does not end: the gateway waits for the rest


def requests(key: str) -> list[bytes]:
    """Good ones, one of each framing."""
    body = b'{"vector": [1, 0, 0, 0, 0, 0, 0, 0], "k": 3}'
    query = {"content_type": "application/json"}
    form = PURPOSE + FILE + END
    return [
        head("GET", "/v1/files?limit=3", key=key),
        head("POST", "/v1/collections/pets/query", key=key, content_length=str(len(body)), **query) + body,
        head("POST", "/v1/collections/pets/query", key=key, transfer_encoding="chunked", **query)
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        head("POST", "/v1/files", content_type=FORM, content_length=str(len(form))) + form,
        head("DELETE", f"/v1/files/file-{'0' * 26}", key=key) + head("GET", "/healthz"),
    ]


def mutated(draw: random.Random, good: bytes) -> bytes:
    """The bytes with one to six changes."""
    found = bytearray(good)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(found) + 1)
        match draw.randrange(4):
            case 0:
                found[place : place + 1] = draw.randbytes(1)
            case 1:
                del found[place : place + draw.randint(1, 20)]
            case 2:
                found[place:place] = found[draw.randrange(len(found) + 1) :][: draw.randint(1, 60)]
            case 3:
                found[place:place] = draw.choice(PIECES)
    return bytes(found) or b"G"


@pytest.mark.parametrize("seed", [20261125])
def test_changed_bytes_break_nothing(hostile: Hostile, seed: int) -> None:
    draw, answers, before = random.Random(seed), Counter[str](), tracebacks(hostile)
    with unharmed(hostile):
        for _ in range(400):
            with connected(hostile) as wire:
                wire.settimeout(PATIENCE_SECONDS)
                try:
                    wire.sendall(mutated(draw, draw.choice(requests(hostile.key))))
                    answers[wire.recv(65_536)[9:12].decode("latin-1")] += 1
                except OSError:
                    answers["none"] += 1
    print(f"seed {seed}: {dict(answers)}")
    assert not [status for status in answers if status.startswith("5")]
    assert tracebacks(hostile) == before


@pytest.mark.parametrize("sent", [b"\xff\r\n\r\n", head("GET", "/v1/files") + b"\xff\r\n\r\n", b"GET /", b""])
def test_a_client_that_vanishes_leaves_no_trace(hostile: Hostile, sent: bytes) -> None:
    before = tracebacks(hostile)
    with unharmed(hostile):
        for _ in range(20):
            with connected(hostile) as wire:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
                wire.sendall(sent)
    assert tracebacks(hostile) == before


def tracebacks(hostile: Hostile) -> int:
    """How many the gateway has written; other tests provoke some."""
    return (hostile.home / "log.txt").read_text().count("Traceback")
