"""Whose a key is, and how often its project may ask: read from the database, and known for a moment."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import NotAuthenticated
from service.recent import Recent
from service.settings import GatewaySettings
from service.store import keys, projects
from service.store.database import Database
from service.store.records import DEFAULT_PROJECT, ProjectRecord, Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """On whose behalf a request comes."""

    project: str
    scopes: tuple[Scope, ...] = (Scope.ADMIN,)
    key_id: str | None = None
    """None where no key is needed."""

    @property
    def administers(self) -> str | None:
        """Whose keys and limits it may see and change: of all projects (None) or of its own."""
        return None if self.project == DEFAULT_PROJECT else self.project


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A caller, and how many requests a minute its project may send."""

    caller: Caller
    expires_at: float | None
    limit: int | None


class KnownCallers:
    """Callers by their key; what another process changes of a key or a limit counts a second later."""

    def __init__(self, database: Database, settings: GatewaySettings, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._recent: Recent[bytes, Known] = Recent(database)

    def at_once(self, key: str) -> Known | None:
        """Who sent the key, if that was read a moment ago; None if it must be read.

        Raises:
            NotAuthenticated: the key has expired since.
        """
        return self._unexpired(self._recent.get(_digest(key)))

    def read(self, key: str) -> Known:
        """Who sent the key; an empty one will do while no key was ever made and only this machine can connect.

        Raises:
            NotAuthenticated: it opens nothing.
        """
        found = self._unexpired(self._recent.read(_digest(key), lambda: self._find(key)))
        assert found is not None, "it was read"
        return found

    def _unexpired(self, known: Known | None) -> Known | None:
        if known is not None and known.expires_at is not None and self._clock() >= known.expires_at:
            raise NotAuthenticated
        return known

    def _find(self, key: str) -> Known:
        with self._database.read() as tx:
            record = keys.verify(tx, key, now=self._clock()) if key else None
            if record is not None:
                found = Caller(project=record.project, scopes=record.scopes, key_id=record.id)
            elif self._settings.loopback and not keys.any_key(tx):
                found = Caller(project=DEFAULT_PROJECT)
            else:
                raise NotAuthenticated
            limit = self._limit(projects.find(tx, found.project))
            return Known(caller=found, expires_at=None if record is None else record.expires_at, limit=limit)

    def _limit(self, project: ProjectRecord | None) -> int | None:
        own = None if project is None else project.max_requests_per_minute
        return self._settings.quotas.max_requests_per_minute if own is None else own


def _digest(key: str) -> bytes:
    """What a key is known by here: a secret is not kept."""
    return hashlib.sha256(key.encode()).digest()
