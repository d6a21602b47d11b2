"""HTTP by hand: what a client library would refuse to send, and what came back of it."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.end_to_end.processes import until
from tests.faults.hostile.gateway import Hostile
from tests.service.documented import check

SECONDS = 15.0
"""How long an answer may take; no test waits for it to pass."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the gateway said."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_closed: bool
    """Whether the connection was ended after it."""

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def head(method: str, path: str, *, key: str = "", **fields: str) -> bytes:
    """A request line and its fields; underscores in their names are hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "host: test"]
    lines += [f"authorization: Bearer {key}"] if key else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def ask(hostile: Hostile, method: str, path: str, *, body: bytes = b"", keyed: bool = True, **fields: str) -> Answer:
    """The answer to a well-formed request on a connection of its own."""
    sized = {"content_length": str(len(body))} if body or method == "POST" else {}
    asked = head(method, path, key=hostile.key if keyed else "", connection="close", **sized, **fields)
    answer = exchange(hostile, asked + body)
    check(method, unquote(path.partition("?")[0]), status=answer.status)
    return answer


def post(hostile: Hostile, path: str, body: bytes, **fields: str) -> Answer:
    """The answer to a JSON body."""
    return ask(hostile, "POST", path, body=body, **{"content_type": "application/json", **fields})


def exchange(hostile: Hostile, *pieces: bytes) -> Answer:
    """The answer to bytes, however wrong they are."""
    with connected(hostile) as wire:
        for piece in pieces:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused while it is still being sent
                wire.sendall(piece)
        answer = read(wire)
    assert answer is not None, "the connection was closed without an answer"
    return answer


@contextmanager
def connected(hostile: Hostile) -> Iterator[socket.socket]:
    """A connection."""
    with socket.create_connection(("127.0.0.1", hostile.port), timeout=SECONDS) as wire:
        yield wire


def read(wire: socket.socket) -> Answer | None:
    """The next answer; none if the connection ends before."""
    got = b""
    while b"\r\n\r\n" not in got:
        if not (data := wire.recv(65_536)):
            assert not got, f"the answer ended early: {got!r}"
            return None
        got += data
    top, _, body = got.partition(b"\r\n\r\n")
    status, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    size = int(headers["content-length"])
    while len(body) < size:
        data = wire.recv(65_536)
        assert data, "the answer ended early"
        body += data
    is_closed = headers.get("connection") == "close" and wire.recv(1) == b""
    return Answer(status=int(status.split()[1]), headers=headers, body=body[:size], is_closed=is_closed)


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The body of an error, after it proved to be the contract's."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers and "server" not in answer.headers
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["error"]["code"], body["type"]) == (status, code, f"urn:infonce:error:{code}"), body
    assert body["request_id"] == answer.headers["x-request-id"]
    assert status not in (429, 503) or int(answer.headers["retry-after"]) >= 1
    return body


@contextmanager
def unharmed(hostile: Hostile) -> Iterator[None]:
    """In the end no row and no file is new or gone, and the next request on another connection is served."""
    before = hostile.state()
    yield
    until(lambda: hostile.state() == before, "the state is as it was")
    assert ask(hostile, "GET", "/v1/collections/pets").status == 200
