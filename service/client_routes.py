"""The request table: every route of the gateway, a row each, for every client.

`Call(method, path, sent=…, answer=…)`: what the arguments are, and what comes back. A new route is a new row; a test
compares the table with the OpenAPI document.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from infonce.compare import Outcome
from infonce.config import Side
from service.client_requests import Call, Listed, Sent
from service.schemas.audits import FileIssues, FileStats
from service.schemas.collections import CollectionCreate, CollectionObject, QueryAnswer
from service.schemas.documents import DocumentsAccepted
from service.schemas.embeddings import Embeddings
from service.schemas.evaluations import EvaluatedQuery, EvaluationCreate, EvaluationObject
from service.schemas.files import FileDeleted, FileObject
from service.schemas.health import Health, Readiness
from service.schemas.job_answers import EstimateAccepted, FineTuningJob, Job, JobEvent
from service.schemas.jobs import JobCreate
from service.schemas.keys import ApiKey, ApiKeyCreate, ApiKeyDeleted, ApiKeyRotate, Limits, ProjectCreate, ProjectObject
from service.schemas.mining import MiningCreate
from service.schemas.models import ModelObject
from service.schemas.strict import Request

B = TypeVar("B", bound=Request)
Purpose = Literal["fine-tune", "eval", "corpus"]
_TUNING: Final = "/v1/fine_tuning/jobs"


def nothing() -> Sent:
    """No argument."""
    return Sent()


def of_id(id: str) -> Sent:
    """The id, or the name, stands in the path."""
    return Sent(places={"id": id})


def of_name(name: str) -> Sent:
    """The name of a collection, or its id, stands in the path."""
    return Sent(places={"c": name})


def changing(id: str) -> Sent:
    """The id stands in the path; the body is empty."""
    return Sent(places={"id": id}, body={})


def posted(kind: type[B]) -> Callable[[B], Sent]:
    """A body of that kind, without what was left out."""

    def sent(asked: B) -> Sent:
        return Sent(body=_said(asked))

    return sent


def changed(kind: type[B]) -> Callable[[str, B], Sent]:
    """The id stands in the path, and there is a body of that kind."""

    def sent(id: str, asked: B) -> Sent:
        return Sent(places={"id": id}, body=_said(asked))

    return sent


def _uploaded(
    path: Path,
    purpose: Purpose,
    *,
    mapping: Mapping[str, Any] | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Sent:
    """`mapping` names the fields of pairs, where need be; `on_bytes` is told of each part that was read."""
    form = {"purpose": purpose} | ({} if mapping is None else {"mapping": json.dumps(mapping)})
    return Sent(path=path, form=form, on_bytes=on_bytes)


def _by_purpose(purpose: Purpose | None = None) -> Sent:
    return Sent(params={"purpose": purpose})


def _audited(id: str, *, model: str | None = None, held_out: str | None = None) -> Sent:
    return Sent(places={"id": id}, params={"model": model, "held_out": held_out})


def _by_metadata(*, metadata: Mapping[str, str] | None = None) -> Sent:
    return Sent(params={f"metadata[{key}]": value for key, value in (metadata or {}).items()})


def _oldest_first(id: str) -> Sent:
    return Sent(places={"id": id}, params={"order": "asc"})


def _outcomes(id: str, *, outcome: Outcome | None = None, model: str | None = None) -> Sent:
    return Sent(places={"id": id}, params={"outcome": outcome and outcome.value, "model": model})


def _texts(texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT, dimensions: int | None = None) -> Sent:
    body = {"model": model, "input": list(texts), "encoding_format": "base64", "input_type": side.value}
    return Sent(body=body if dimensions is None else {**body, "dimensions": dimensions})


def _documents(name: str, documents: Iterable[Mapping[str, Any]]) -> Sent:
    lines = ((json.dumps(document) + "\n").encode() for document in documents)
    return Sent(places={"c": name}, lines=lines)


def _asked(name: str, text: str, *, k: int = 10) -> Sent:
    return Sent(places={"c": name}, body={"query": text, "k": k})


def _asked_by_vector(name: str, vector: NDArray[np.float32], *, k: int = 10) -> Sent:
    return Sent(places={"c": name}, body={"vector": vector.tolist(), "k": k})


def _said(asked: Request) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude_unset=True)


class Routes:
    """What every client can ask."""

    healthz = Call("GET", "/healthz", sent=nothing, answer=Health)
    readyz = Call("GET", "/readyz", sent=nothing, answer=Readiness)

    upload = Call("POST", "/v1/files", sent=_uploaded, answer=FileObject)
    """The file is stored, and every line of it was read."""
    files = Listed("/v1/files", sent=_by_purpose, element=FileObject)
    file = Call("GET", "/v1/files/{id}", sent=of_id, answer=FileObject)
    delete_file = Call("DELETE", "/v1/files/{id}", sent=of_id, answer=FileDeleted)
    file_issues = Call("GET", "/v1/files/{id}/issues", sent=_audited, answer=FileIssues)
    file_stats = Call("GET", "/v1/files/{id}/stats", sent=_audited, answer=FileStats)
    clean_file = Call("POST", "/v1/files/{id}/clean", sent=changing, answer=FileObject)
    """A new file without copies and conflicts."""

    create_job = Call("POST", _TUNING, sent=posted(JobCreate), answer=FineTuningJob)
    """A training waits."""
    order_estimate = Call("POST", _TUNING + "/estimate", sent=posted(JobCreate), answer=EstimateAccepted)
    tuning_jobs = Listed(_TUNING, sent=_by_metadata, element=FineTuningJob)
    job = Call("GET", _TUNING + "/{id}", sent=of_id, answer=FineTuningJob)
    cancel_tuning = Call("POST", _TUNING + "/{id}/cancel", sent=changing, answer=FineTuningJob)
    pause = Call("POST", _TUNING + "/{id}/pause", sent=changing, answer=FineTuningJob)
    """The training job is paused, or was asked to pause after its last finished step."""
    resume = Call("POST", _TUNING + "/{id}/resume", sent=changing, answer=FineTuningJob)
    events = Listed(_TUNING + "/{id}/events", sent=_oldest_first, element=JobEvent)
    """What happened to a training job, oldest first."""
    report = Call("GET", _TUNING + "/{id}/report", sent=of_id, answer=dict[str, Any])
    report_page = Call("GET", _TUNING + "/{id}/report.html", sent=of_id, answer=str)

    jobs = Listed("/v1/jobs", sent=_by_metadata, element=Job)
    """Jobs of every kind that have all of this metadata, newest first."""
    any_job = Call("GET", "/v1/jobs/{id}", sent=of_id, answer=Job)
    cancel = Call("POST", "/v1/jobs/{id}/cancel", sent=changing, answer=Job)
    """The job is cancelled, or was asked to stop."""
    pause_any = Call("POST", "/v1/jobs/{id}/pause", sent=changing, answer=Job)
    resume_any = Call("POST", "/v1/jobs/{id}/resume", sent=changing, answer=Job)

    mine = Call("POST", "/v1/mining", sent=posted(MiningCreate), answer=Job)
    """A job waits that will make a new file with hard negatives."""
    evaluate = Call("POST", "/v1/evaluations", sent=posted(EvaluationCreate), answer=EvaluationObject)
    """An evaluation exists, and its job waits."""
    evaluations = Listed("/v1/evaluations", sent=nothing, element=EvaluationObject)
    evaluation = Call("GET", "/v1/evaluations/{id}", sent=of_id, answer=EvaluationObject)
    evaluated = Listed("/v1/evaluations/{id}/queries", sent=_outcomes, element=EvaluatedQuery)
    """What became of each query under the model, the second one where none is named."""

    every_model = Listed("/v1/models", sent=nothing, element=ModelObject)
    """Base models, and the tuned ones, newest first."""
    model = Call("GET", "/v1/models/{id}", sent=of_id, answer=ModelObject)
    embeddings = Call("POST", "/v1/embeddings", sent=_texts, answer=Embeddings)

    create_collection = Call("POST", "/v1/collections", sent=posted(CollectionCreate), answer=CollectionObject)
    collections = Listed("/v1/collections", sent=nothing, element=CollectionObject)
    collection = Call("GET", "/v1/collections/{c}", sent=of_name, answer=CollectionObject)
    add_documents = Call("POST", "/v1/collections/{c}/documents", sent=_documents, answer=DocumentsAccepted)
    """The documents are stored, and the job that makes them searchable waits; they are sent as they come."""
    query = Call("POST", "/v1/collections/{c}/query", sent=_asked, answer=QueryAnswer)
    """The documents nearest to a text."""
    query_vector = Call("POST", "/v1/collections/{c}/query", sent=_asked_by_vector, answer=QueryAnswer)
    """The documents nearest to a vector; (D,)."""

    create_key = Call("POST", "/v1/api_keys", sent=posted(ApiKeyCreate), answer=ApiKey)
    """A key, whose secret is shown this once."""
    api_keys = Listed("/v1/api_keys", sent=nothing, element=ApiKey)
    key = Call("GET", "/v1/api_keys/{id}", sent=of_id, answer=ApiKey)
    rotate_key = Call("POST", "/v1/api_keys/{id}/rotate", sent=changed(ApiKeyRotate), answer=ApiKey)
    delete_key = Call("DELETE", "/v1/api_keys/{id}", sent=of_id, answer=ApiKeyDeleted)
    create_project = Call("POST", "/v1/projects", sent=posted(ProjectCreate), answer=ProjectObject)
    projects = Listed("/v1/projects", sent=nothing, element=ProjectObject)
    project = Call("GET", "/v1/projects/{id}", sent=of_id, answer=ProjectObject)
    limit_project = Call("POST", "/v1/projects/{id}", sent=changed(Limits), answer=ProjectObject)
