"""Serves the gateway with uvicorn on a socket that is bound first, so that a free port is known before the start."""

import socket
from collections.abc import Callable

import uvicorn

from service.app import create_app
from service.errors import StartRefused
from service.settings import GatewaySettings

_BACKLOG = 512


def run(settings: GatewaySettings, *, on_listening: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; `on_listening` is told the address once the socket is bound.

    Raises:
        StartRefused: the address cannot be used, or no key protects it.
        StoreError: database or artifact folder cannot be used.
    """
    app = create_app(settings)
    listener = _bind(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http="h11",  # the same parser, with the same limits, whatever else is installed
        timeout_keep_alive=5,
        timeout_graceful_shutdown=20,
        h11_max_incomplete_event_size=32_768,
        limit_concurrency=None,  # it counts idle connections: a few open sockets would shut everybody out
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
    )
    on_listening(f"infonce listens on {address(listener)}")
    uvicorn.Server(config).run(sockets=[listener])


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise StartRefused(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener
