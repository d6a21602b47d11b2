"""Jobs, their events and their state as callers see them."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field

from service.schemas.strict import Answer
from service.store.records import EventRecord, JobError, JobRecord
from service.store.watched import JobState


class JobFailure(Answer):
    """Why a job failed; `class` says whose doing it was."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None
    retryable: bool = False
    origin: Literal["user", "system"] = Field(alias="class")

    @classmethod
    def of(cls, error: JobError) -> Self:
        """The record as an answer."""
        origin = "user" if error.user else "system"
        known = {name: getattr(error, name) for name in ("code", "message", "param", "line", "retryable")}
        return cls.model_validate({**known, "class": origin})


class JobProgress(Answer):
    """How far a job is; null is not known yet."""

    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    percent: float | None = None
    loss: float | None = None
    pairs_per_second: float | None = None
    eta_seconds: float | None = None
    queue_position: int | None = None
    """1 is next; null when it does not wait."""

    @classmethod
    def of(cls, record: JobRecord | JobState, queue_position: int | None) -> Self:
        """The record as an answer."""
        return cls.model_validate({**record.progress, "queue_position": queue_position})


class JobNews(Answer):
    """How a job is while it is watched."""

    id: str
    object: Literal["job.progress"] = "job.progress"
    status: str
    phase: str
    progress: JobProgress

    @classmethod
    def of(cls, state: JobState, queue_position: int | None) -> Self:
        """The state as an answer."""
        progress = JobProgress.of(state, queue_position)
        return cls(id=state.id, status=state.status.value, phase=state.phase.value, progress=progress)


class Job(Answer):
    """A job of any kind."""

    id: str
    object: Literal["job"] = "job"
    kind: str
    status: str
    phase: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    metadata: dict[str, str]
    priority: int
    subject: str | None
    """The id of what it works on: a collection, an evaluation, a file of pairs."""
    progress: JobProgress
    result: dict[str, Any]
    result_files: list[str]
    """The files that it made."""
    error: JobFailure | None
    cancel_requested: bool
    pause_requested: bool
    keep_requested: bool
    """Whether it ends early with the best that it has made."""
    attempt: int

    @classmethod
    def of(cls, record: JobRecord, queue_position: int | None) -> Self:
        """The record as an answer."""
        return cls.model_validate(
            {**_common(record, queue_position), "kind": record.kind.value, "subject": record.subject}
            | {"result": dict(record.result)}
        )


class EstimateAccepted(Answer):
    """An estimate was ordered."""

    job: str
    """The id of the job whose result it will be."""


class FineTuningJob(Answer):
    """A training job in OpenAI's shape, with what OpenAI has no word for beside it."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    status: str
    phase: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    fine_tuned_model: str | None
    training_file: str
    validation_file: str | None
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    seed: int
    rerun_of: str | None
    """The job that it repeats."""
    metadata: dict[str, str]
    priority: int
    organization_id: str
    result_files: list[str]
    trained_tokens: int | None
    progress: JobProgress
    evaluation: dict[str, Any] | None
    """Base against tuned, once it is known; `/report` has all of it."""
    deployment: dict[str, Any] | None
    """What was asked of deploying, and what came of it: decision and reason, the index job and its status."""
    error: JobFailure | None
    cancel_requested: bool
    pause_requested: bool
    keep_requested: bool
    """Whether it ends early with the best that it has made."""
    attempt: int

    @classmethod
    def of(cls, record: JobRecord, queue_position: int | None) -> Self:
        """The record as an answer; every `auto` that was decided is shown as what it became."""
        spec, result = record.spec, record.result
        settings = {**spec["config"]["loss"], **spec["config"], **spec["encoder"], **record.resolved}
        top = {name: settings[name] for name in ("n_epochs", "batch_size")}
        return cls.model_validate(
            _common(record, queue_position)
            | {name: spec[name] for name in ("model", "training_file", "validation_file")}
            | {
                "fine_tuned_model": result.get("model"),
                "hyperparameters": {**top, "learning_rate_multiplier": spec["learning_rate_multiplier"]},
                "method": _decided(spec["method"], settings),
                "seed": settings["seed"],
                "rerun_of": spec.get("rerun_of"),
                "organization_id": record.project,
                "trained_tokens": result.get("trained_tokens"),
                "evaluation": result.get("summary"),
                "deployment": result.get("deployment", _undecided(spec.get("deploy"))),
            }
        )


class JobEvent(Answer):
    """One thing that happened to a job, in OpenAI's shape."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: str
    type: str
    message: str
    data: dict[str, Any]

    @classmethod
    def of(cls, record: EventRecord) -> Self:
        """The record as an answer; OpenAI knows one type of event, ours stands in `data.type`."""
        return cls(
            id=f"ftevent-{record.id}",
            created_at=int(record.at),
            level=record.level,
            type="message",
            message=record.message,
            data={**record.data, "type": record.type, "attempt": record.attempt},
        )


def _common(record: JobRecord, queue_position: int | None) -> dict[str, Any]:
    return {
        "id": record.id,
        "status": record.status.value,
        "phase": record.phase.value,
        "created_at": int(record.created_at),
        "started_at": _seconds(record.started_at),
        "finished_at": _seconds(record.finished_at),
        "metadata": dict(record.metadata),
        "priority": record.priority,
        "progress": JobProgress.of(record, queue_position),
        "result_files": list(record.result.get("result_files", [])),
        "error": JobFailure.of(record.error) if record.error is not None else None,
        "cancel_requested": record.cancel_requested,
        "pause_requested": record.pause_requested,
        "keep_requested": record.keep_requested,
        "attempt": record.attempt,
    }


def _undecided(asked: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The wish to deploy before the training has ended."""
    if asked is None:
        return None
    names = {"collection": asked["collection"], "policy": asked["policy"]}
    return names | dict.fromkeys(("decision", "reason", "job", "status"))


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)


def _decided(method: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The method as it was asked for, each `auto` replaced by what it became."""
    asked = method["contrastive"]
    decided = {name: settings.get(name, value) for name, value in asked["hyperparameters"].items()}
    pooling = settings.get("pooling", asked["pooling"])
    return {"type": method["type"], "contrastive": {**asked, "hyperparameters": decided, "pooling": pooling}}
