"""Whether this machine can run the service: disk, broker, database, port; each check a line, with what to do."""

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infonce.checkup import Check, fail, ok, warn
from service.errors import StartRefused
from service.settings import DEFAULT_HOST, DEFAULT_MIN_FREE_BYTES
from service.store.database import Database, sqlite_url
from service.store.errors import InvalidSetting, SchemaMismatch, StoreError
from service.store.queue import Doorbell
from service.store.settings import ARTIFACTS, BROKER_URL, DATABASE_URL, HOME_ARTIFACTS, HOME_DATABASE
from service.valkey import find_program

FEW_DISK_BYTES = 5 << 30
"""A tuned MiniLM takes 90 MB, each of its checkpoints 270 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the service is, or would be."""

    database_url: str
    made_by_serve: Path | None
    """The file of a home's database; None where the environment names the database."""
    artifacts: Path
    broker_url: str | None
    """None is a broker that `infonce serve` brings."""
    host: str
    port: int

    @classmethod
    def of(cls, home: Path, env: Mapping[str, str], *, port: int) -> "Place":
        """What the environment names, else what `infonce serve --home` would take."""
        named = env.get(DATABASE_URL) or None
        return cls(
            database_url=named or sqlite_url(home / HOME_DATABASE),
            made_by_serve=None if named else home / HOME_DATABASE,
            artifacts=Path(env.get(ARTIFACTS) or home / HOME_ARTIFACTS).absolute(),
            broker_url=env.get(BROKER_URL) or None,
            host=env.get("INFONCE_HOST") or DEFAULT_HOST,
            port=port,
        )


def service_checks(place: Place) -> Iterator[Check]:
    """Disk, broker, database and port."""
    yield check_disk(place.artifacts)
    yield check_broker(place.broker_url)
    yield check_database(place.database_url, made_by_serve=place.made_by_serve)
    yield check_port(place.host, place.port)


def check_disk(artifacts: Path) -> Check:
    """Whether files, models and indexes can be written, and have room."""
    folder = next(path for path in (artifacts, *artifacts.parents) if path.is_dir())
    if not os.access(folder, os.W_OK):
        return fail("disk", f"{folder} is not writable", remedy="give this user the right, or choose another --home")
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB are free at {folder}"
    if free < DEFAULT_MIN_FREE_BYTES:
        return fail("disk", said, remedy="make room, for uploads and jobs are refused; `infonce gc` may help")
    if free < FEW_DISK_BYTES:
        return warn("disk", said, remedy=f"have {FEW_DISK_BYTES / 1e9:.0f} GB for models, checkpoints and indexes")
    return ok("disk", said)


def check_broker(url: str | None) -> Check:
    """Whether the broker that is named answers, or one can be started."""
    if url is None:
        try:
            return ok("broker", f"{find_program()} can be started")
        except StartRefused as error:
            said, _, remedy = str(error).partition(": ")
            return fail("broker", said, remedy=remedy)
    try:
        doorbell = Doorbell(url)
    except InvalidSetting as error:
        return fail("broker", str(error), remedy="write for example redis://127.0.0.1:6379/0")
    try:
        up = doorbell.ping()
    finally:
        doorbell.close()
    if up:
        return ok("broker", f"the one of {BROKER_URL} answers")
    return fail("broker", f"the one of {BROKER_URL} does not answer", remedy="start it, or correct the address")


def check_database(url: str, *, made_by_serve: Path | None) -> Check:
    """Whether the database answers and has this version's schema; a home's that is not there yet will be made."""
    if made_by_serve is not None and not made_by_serve.exists():
        return ok("database", "there is none yet; `infonce serve` makes it")
    try:
        Database.open(url).close()
    except SchemaMismatch as error:
        return fail("database", str(error), remedy="run `infonce migrate`; `infonce serve` does it by itself")
    except InvalidSetting as error:
        return fail("database", str(error), remedy=f"correct {DATABASE_URL}")
    except StoreError as error:
        return fail("database", str(error), remedy="start it, or see who holds a lock in it")
    return ok("database", "it answers and has this version's schema")


def check_port(host: str, port: int) -> Check:
    """Whether the gateway could listen there."""
    where = f"{host} port {port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        remedy = "if that is not infonce itself, stop it or take another --port"
        return warn("port", f"{where} cannot be listened on: {error.strerror or error}", remedy=remedy)
    return ok("port", f"{where} is free")
