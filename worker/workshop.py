"""What every attempt of a worker shares: where jobs, files and models are, and how a child is started."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from opentelemetry.trace import NoOpTracer, Tracer

from infonce.hub import Hub
from infonce.traces import tracer_provider
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
    tracer: Tracer = field(default_factory=NoOpTracer)

    @classmethod
    def open(cls, settings: WorkerSettings) -> Self:
        """The workshop of these settings.

        Raises:
            ConfigError: traces are wanted, and the extra `otel` is not installed.
            StoreError: the database is not at this code's schema, or the artifacts are of a newer layout.
        """
        provider = tracer_provider(settings.environment, service="infonce-worker")
        artifacts = Artifacts(settings.store.artifacts)
        artifacts.prepare()
        return cls(
            settings=settings,
            database=Database.open(settings.store.database_url),
            artifacts=artifacts,
            hub=Hub.from_env(settings.environment),
            tracer=NoOpTracer() if provider is None else provider.get_tracer("infonce"),
        )
