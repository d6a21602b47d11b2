"""What every attempt of a worker shares: where jobs, files and models are, and how a child is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from infonce.hub import Hub
from service.store.artifacts import Artifacts
from service.store.database import Database
from worker.process import COMMAND
from worker.settings import WorkerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """One per process."""

    settings: WorkerSettings
    database: Database
    artifacts: Artifacts
    hub: Hub
    command: Sequence[str] = COMMAND

    @classmethod
    def open(cls, settings: WorkerSettings) -> Self:
        """The workshop of these settings.

        Raises:
            StoreError: the database is not at this code's schema, or the artifacts are of a newer layout.
        """
        artifacts = Artifacts(settings.store.artifacts)
        artifacts.prepare()
        return cls(
            settings=settings,
            database=Database.open(settings.store.database_url),
            artifacts=artifacts,
            hub=Hub.from_env(settings.environment),
        )
