"""Serves the gateway with uvicorn on a socket that is bound first, so that a free port is known before the start."""

import resource
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.errors import StartRefused
from service.guard import guarded
from service.settings import EdgeLimits, GatewaySettings

_BACKLOG = 512
_OTHER_FILES = 512
"""Databases, indexes, uploads, refused connections that linger, and what libraries open."""


def run(settings: GatewaySettings, *, on_listening: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; `on_listening` is told the address once the socket is bound.

    Raises:
        StartRefused: the address cannot be used, no key protects it, or the system allows too few open files.
        StoreError: database or artifact folder cannot be used.
    """
    serve(create_app(settings), settings, on_listening=on_listening)


def serve(app: FastAPI, settings: GatewaySettings, *, on_listening: Callable[[str], None]) -> None:
    """The application is served as `run` says."""
    _allow_files(settings.edge.max_connections)
    listener = _bind(settings.host, settings.port)
    on_listening(address(listener))
    uvicorn.Server(server_config(app, settings.edge)).run(sockets=[listener])


def server_config(app: FastAPI, limits: EdgeLimits) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        log_config=None,  # its lines go the way of all others
        access_log=False,  # ours says more, and less often
        http=guarded(limits),  # over h11: the same parser, with the same limits, whatever else is installed
        ws="none",  # there is no such route; an installed library would take connections out of the guard's sight
        timeout_keep_alive=5,
        timeout_graceful_shutdown=20,
        limit_concurrency=None,  # it counts idle connections: a few open sockets would shut everybody out
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
    )


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_files(max_connections: int) -> None:
    """The process may open a file for each connection; many systems begin with 1,024 and allow more on demand."""
    needed = max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        message = f"INFONCE_MAX_CONNECTIONS is {max_connections} and this process may open only {hard} files; "
        raise StartRefused(message + f"set it to {max(hard - _OTHER_FILES, 0)} or less, or raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio turns Nagle's algorithm off for sockets that say they are TCP; with it the second packet of an answer,
        # its body, waits 40 ms for the client's delayed acknowledgement of the first
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise StartRefused(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener
