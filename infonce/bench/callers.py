"""Many callers of one HTTP route at once, each on a connection of its own, at as little cost to the machine as can be.

A client library takes more time for a call than the server does, and on two cores it would be measured in its place.
"""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from infonce.errors import InfonceError


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One answer and how long it took."""

    seconds: float
    stages: dict[str, float]
    """What the server says of it (`Server-Timing`), in seconds."""
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """All answers, and the time from the first request to the last answer."""

    seconds: float
    answers: Sequence[Answered]


def call(url: str, bodies: Sequence[dict[str, Any]], *, callers: int) -> Load:
    """Every body was posted to `url` once, by whichever caller was free; all connections stood before the first.

    Raises:
        InfonceError: an answer was an error.
    """
    return send(url, [json.dumps(body).encode() for body in bodies], callers=callers)


def send(url: str, bodies: Sequence[bytes], *, callers: int, media_type: str = "application/json") -> Load:
    """The same for bodies that are written already.

    Raises:
        InfonceError: an answer was an error.
    """
    head = f"POST {_of(url)}Content-Type: {media_type}\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    return _alone(url, requests) if callers == 1 else asyncio.run(_ask(url, requests, callers=callers))


def look(url: str, *, times: int, callers: int) -> Load:
    """`url` was read so many times, by whichever caller was free; all connections stood before the first.

    Raises:
        InfonceError: an answer was an error.
    """
    return asyncio.run(_ask(url, [f"GET {_of(url)}\r\n".encode()] * times, callers=callers))


def _of(url: str) -> str:
    """What stands behind the method: the path and the host."""
    where = urlsplit(url)
    return f"{where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n"


def _alone(url: str, requests: Sequence[bytes]) -> Load:
    """One caller needs no loop, which takes a quarter of a millisecond for each answer."""
    where, answers = urlsplit(url), list[Answered]()
    with socket.create_connection((where.hostname, where.port)) as connection, connection.makefile("rb") as reader:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = perf_counter()
        for request in requests:
            sent = perf_counter()
            connection.sendall(request)
            head = b"".join(iter(reader.readline, b"\r\n"))
            status, headers = _parsed(head)
            body = reader.read(int(headers["content-length"]))
            answers.append(_answered(status, headers, body=body, seconds=perf_counter() - sent))
        return Load(seconds=perf_counter() - began, answers=answers)


async def _ask(url: str, requests: Sequence[bytes], *, callers: int) -> Load:
    where = urlsplit(url)
    connections = [await asyncio.open_connection(where.hostname, where.port) for _ in range(callers)]
    began, coming = perf_counter(), iter(requests)
    try:
        answers = await asyncio.gather(*(_caller(*connection, requests=coming) for connection in connections))
        return Load(seconds=perf_counter() - began, answers=[one for own in answers for one in own])
    finally:
        for _, writer in connections:
            writer.close()


async def _caller(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, requests: Iterator[bytes]
) -> list[Answered]:
    answers = []
    for request in requests:  # shared by all callers: who is free takes the next one
        began = perf_counter()
        writer.write(request)
        status, headers = _parsed(await reader.readuntil(b"\r\n\r\n"))
        body = await reader.readexactly(int(headers["content-length"]))
        answers.append(_answered(status, headers, body=body, seconds=perf_counter() - began))
    return answers


def _answered(status: int, headers: Mapping[str, str], *, body: bytes, seconds: float) -> Answered:
    if not 200 <= status < 300:
        raise InfonceError(f"the gateway answered {status}: {body[:200].decode(errors='replace')}")
    return Answered(seconds=seconds, stages=_stages(headers.get("server-timing", "")), body=body)


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    fields = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in fields}


def _stages(header: str) -> dict[str, float]:
    stages = (stage.split(";dur=") for stage in header.split(", ") if stage)
    return {name: float(milliseconds) / 1_000 for name, milliseconds in stages}
