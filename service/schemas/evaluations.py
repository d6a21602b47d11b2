"""Evaluations of several models: what is asked, and what came out."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from infonce.compare import Outcome, Verdict
from service.schemas.job_answers import JobFailure
from service.schemas.strict import Answer, Metadata, Name, Request
from service.store.evaluations import EvaluationRecord
from service.store.records import JobRecord

MAX_MODELS = 10


class EvaluationCreate(Request):
    """The body of `POST /v1/evaluations`."""

    file: Name
    models: Annotated[list[Name], Field(min_length=1, max_length=MAX_MODELS)]
    """The others are compared with the first."""
    ks: Annotated[list[Annotated[int, Field(ge=1, le=1_000)]], Field(min_length=1, max_length=10)] = Field(
        default=[1, 5, 10]
    )
    metadata: Metadata | None = None


class ModelScores(Answer):
    """What one model reached; null until the job has succeeded."""

    name: str
    fingerprint: str | None = None
    metrics: dict[str, float] | None = None
    seconds: float | None = None


class ComparisonScores(Answer):
    """One model against the first; `low` and `high` bound the mean difference with 95 % confidence."""

    base: str
    tuned: str
    metric: str
    num_queries: int
    mean_base: float
    mean_tuned: float
    delta: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    verdict: Verdict


class EvaluationObject(Answer):
    """Several models on one set of judged queries."""

    id: str
    object: Literal["evaluation"] = "evaluation"
    job: str
    status: str
    """Of the job."""
    created_at: int
    file: str
    ks: list[int]
    metric: str | None
    """That decides who is better; null, as the numbers, until the job has succeeded."""
    num_queries: int | None
    num_documents: int | None
    small_corpus: bool | None
    """Whether there are fewer than ten documents a query, so that every model looks good."""
    models: list[ModelScores]
    comparisons: list[ComparisonScores]
    metadata: dict[str, str]
    error: JobFailure | None

    @classmethod
    def of(cls, record: EvaluationRecord, job: JobRecord) -> Self:
        """The record and its job as an answer."""
        summary = record.summary
        known: dict[str, Any] = dict.fromkeys(("metric", "num_queries", "num_documents", "small_corpus"))
        return cls.model_validate(
            {**known, **summary}
            | {
                "id": record.id,
                "job": record.job_id,
                "status": job.status.value,
                "created_at": int(record.created_at),
                "file": record.file_id,
                "ks": list(record.ks),
                "models": summary.get("models", [{"name": name} for name in record.models]),
                "comparisons": summary.get("comparisons", []),
                "metadata": dict(record.metadata),
                "error": None if job.error is None else JobFailure.of(job.error),
            }
        )


class FoundDocument(Answer):
    """One document; a text of more than 1,000 characters is cut, the whole stands in the file."""

    id: str
    text: str
    grade: int | None
    """As it was judged for the query; null where nobody did."""


class EvaluatedQuery(Answer):
    """One query: how well both models did, what is relevant, and what each put first."""

    id: str
    """Its place in the list."""
    object: Literal["evaluation.query"] = "evaluation.query"
    query: str
    """The query's id in the file."""
    outcome: Outcome
    base: float
    tuned: float
    text: str
    relevant: list[FoundDocument]
    """At most three, the best first."""
    base_first: FoundDocument
    tuned_first: FoundDocument
