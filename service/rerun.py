"""A training that has ended, ordered again from its record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from infonce.config import EncoderConfig, TrainConfig
from service.store.errors import Conflict
from service.store.records import JobKind, JobRecord, JobStatus
from service.store.waiting import waiting_job

_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


def repeated(record: JobRecord, *, now: float) -> JobRecord:
    """A job, not yet inserted, that asks for what the other one was asked for and came to.

    What was measured for an `auto` is fixed, so that it rounds as the first one did; what was not yet is `auto` again.

    Raises:
        Conflict: it has not ended.
        ConfigError: it was ordered by another version, which knew other settings.
    """
    if record.status not in _ENDED:
        message = f"The job is {record.status}; it can be repeated once it has ended"
        raise Conflict("conflict", f"{message}: wait for that, or cancel it")
    config, encoder = (_fixed(record.spec[part], record.resolved) for part in ("config", "encoder"))
    TrainConfig.from_dict(config), EncoderConfig.from_dict(encoder)
    spec = {**record.spec, "config": config, "encoder": encoder, "rerun_of": record.id}
    job = waiting_job(JobKind.TRAIN, project=record.project, spec=spec, now=now, metadata=record.metadata)
    return replace(job, priority=record.priority)


def _fixed(settings: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {name: resolved.get(name, value) for name, value in settings.items()}
