"""What a training has come to so far, and what of it can be used, as callers see them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

from service.schemas.strict import Answer
from service.store.records import ModelRecord

_PREFIX: Final = "ftckpt-"


class CheckpointMetrics(Answer):
    """OpenAI's names; what an embedding model has no such number for is null."""

    step: int
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class JobCheckpoint(Answer):
    """A model of a job that is ready to use, in OpenAI's shape."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    """The name of the model."""
    fine_tuning_job_id: str
    metrics: CheckpointMetrics
    step_number: int
    """After which the weights were taken."""

    @classmethod
    def of(cls, model: ModelRecord, report: Mapping[str, Any]) -> Self:
        """The model that a job published."""
        assert model.job_id is not None, "a training made it"
        best = report.get("best_step")  # None without early stopping
        step = report["num_steps"] if best is None else best
        told = {record["step"]: record["loss"] for record in report["curve"]}  # not every step, if there are many
        return cls(
            id=_PREFIX + model.job_id.partition("-")[2],
            created_at=int(model.created_at),
            fine_tuned_model_checkpoint=model.id,
            fine_tuning_job_id=model.job_id,
            metrics=CheckpointMetrics(step=step, train_loss=told.get(step)),
            step_number=step,
        )


class JobMetrics(Answer):
    """The curve of a training in columns of one length."""

    object: Literal["fine_tuning.job.metrics"] = "fine_tuning.job.metrics"
    job: str
    columns: dict[str, list[float | None]]
    """By name one value for each step that is told, at most 2,000 of them; `step` says which."""

    @classmethod
    def of(cls, job: str, curve: Sequence[Mapping[str, Any]]) -> Self:
        """The records as columns."""
        names = dict.fromkeys(name for record in curve for name in record)
        return cls(job=job, columns={name: [record.get(name) for record in curve] for name in names})
