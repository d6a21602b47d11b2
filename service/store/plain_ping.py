"""A PING to a broker without TLS, by a socket alone.

The libraries that speak to it for real take a third of a second to import, which whoever waits for `/readyz` would see.
"""

import socket
from contextlib import closing
from typing import Final
from urllib.parse import unquote, urlsplit

_SECONDS: Final = 1.0
_PORT: Final = 6_379
_MAX_BYTES: Final = 4_096


def plain_ping(url: str) -> bool | None:
    """Whether what listens there answers PING within a second; None where a URL of this kind needs a library."""
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.hostname is None:
        return None
    words = [[b"PING"]]
    if parts.password is not None:
        user = [unquote(parts.username).encode()] if parts.username else []
        words.insert(0, [b"AUTH", *user, unquote(parts.password).encode()])
    try:
        with closing(socket.create_connection((parts.hostname, parts.port or _PORT), timeout=_SECONDS)) as wire:
            wire.sendall(b"".join(map(_command, words)))
            said = b""
            while said.count(b"\r\n") < len(words) and len(said) < _MAX_BYTES and (more := wire.recv(_MAX_BYTES)):
                said += more
    except OSError:
        return False
    return said.split(b"\r\n")[len(words) - 1] == b"+PONG"


def _command(words: list[bytes]) -> bytes:
    """An array of bulk strings (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    strings = (b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%s" % (len(words), b"".join(strings))
