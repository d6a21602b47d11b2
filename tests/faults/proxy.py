"""A network between two processes of a test that can be cut in the ways in which networks are.

A cut that nobody is told of (a cable, a firewall that forgot) leaves both ends waiting: connections that stood while
`cut` held never carry another byte, those made after `heal` do. A `reset` tells both ends at once.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK_BYTES = 1 << 16


class Proxy:
    """Listens on a free port of the loopback interface while its context lasts, and passes on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.num_connections = 0
        """Accepted since the start."""
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._is_cut = False
        self._dead: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ask(self._listen()).result(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ask(self._close()).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def cut(self) -> None:
        """Every connection is silent from now on, for good; new ones are accepted and silent as well."""
        self._ask(self._cut()).result(5)

    def heal(self) -> None:
        """New connections work again."""
        self._is_cut = False

    def reset(self) -> int:
        """Every connection is broken, and both ends are told (RST); returns how many there were."""
        return self._ask(self._reset()).result(5)

    def _ask(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._is_cut = True
        self._dead |= self._open

    async def _reset(self) -> int:
        doomed, self._open = self._open, set()
        for writer in doomed:
            _break(writer)
        return len(doomed) // 2

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _break(writer)
            return
        ends = {writer, onward[1]}
        self._open |= ends
        if self._is_cut:
            self._dead |= ends
        for source, target in ((reader, onward[1]), (onward[0], writer)):
            task = asyncio.ensure_future(self._pump(source, target))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """What comes is passed on, or swallowed if the connection is dead; the end too."""
        try:
            while data := await source.read(_CHUNK_BYTES):
                if target not in self._dead:
                    target.write(data)
                    await target.drain()
        except OSError:
            pass
        if target not in self._dead:
            self._open.discard(target)
            target.close()


def _break(writer: asyncio.StreamWriter) -> None:
    """The other end reads "connection reset"."""
    end: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):  # it may be closed already
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
