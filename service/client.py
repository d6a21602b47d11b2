"""The gateway from Python: one method a route, typed answers, `ApiError` for everything else."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray

from infonce.compare import Outcome
from infonce.config import Side
from service.errors import ApiError
from service.schemas.collections import CollectionCreate, CollectionObject, QueryAnswer
from service.schemas.documents import DocumentsAccepted
from service.schemas.embeddings import Embeddings
from service.schemas.evaluations import EvaluatedQuery, EvaluationCreate, EvaluationObject
from service.schemas.files import FileDeleted, FileObject
from service.schemas.job_answers import EstimateAccepted, FineTuningJob, Job, JobEvent
from service.schemas.jobs import JobCreate
from service.schemas.lists import Listing
from service.schemas.mining import MiningCreate
from service.schemas.models import ModelObject
from service.schemas.strict import Answer
from service.schemas.vectors import from_base64

ENDED = ("succeeded", "failed", "cancelled")
_TUNING = "/v1/fine_tuning/jobs"
_ATTEMPTS = 4  # of a request that changes nothing, while the server says that it is busy
_LONGEST_PAUSE_SECONDS = 5.0

A = TypeVar("A", bound=Answer)


class Client:
    """Speaks to one gateway; close it, or use it as a context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 300.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._http = httpx2.Client(
            base_url=base_url,
            headers=headers,
            timeout=timeout_seconds,
            transport=transport,
            trust_env=not _is_loopback(base_url),  # no proxy of the environment can reach this machine's loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Its connections are closed."""
        self._http.close()

    def upload(
        self,
        path: Path,
        purpose: Literal["fine-tune", "eval", "corpus"],
        *,
        mapping: Mapping[str, Any] | None = None,
    ) -> FileObject:
        """The file is stored and every line of it was read; `mapping` names the fields of pairs, where need be."""
        said = {"purpose": purpose} | ({} if mapping is None else {"mapping": json.dumps(mapping)})
        with path.open("rb") as file:
            sent = self._http.post("/v1/files", files={"file": (path.name, file)}, data=said)
        return _answer(FileObject, sent)

    def file(self, id: str) -> FileObject:
        """One file."""
        return self._get(FileObject, f"/v1/files/{id}")

    def delete_file(self, id: str) -> FileDeleted:
        """The file is gone."""
        return _answer(FileDeleted, self._http.delete(f"/v1/files/{id}"))

    def create_job(self, asked: JobCreate) -> FineTuningJob:
        """A training waits."""
        return self._post(FineTuningJob, _TUNING, body=asked.model_dump(mode="json", exclude_unset=True))

    def estimate(self, asked: JobCreate) -> Job:
        """A job waits that will say what the training would take."""
        body = asked.model_dump(mode="json", exclude_unset=True)
        return self.any_job(self._post(EstimateAccepted, f"{_TUNING}/estimate", body=body).job)

    def mine(self, asked: MiningCreate) -> Job:
        """A job waits that will make a new file with hard negatives."""
        return self._post(Job, "/v1/mining", body=asked.model_dump(mode="json", exclude_unset=True))

    def evaluate(self, asked: EvaluationCreate) -> EvaluationObject:
        """An evaluation exists, and its job waits."""
        body = asked.model_dump(mode="json", exclude_unset=True)
        return self._post(EvaluationObject, "/v1/evaluations", body=body)

    def evaluation(self, id: str) -> EvaluationObject:
        """One evaluation."""
        return self._get(EvaluationObject, f"/v1/evaluations/{id}")

    def evaluations(self) -> Iterator[EvaluationObject]:
        """The evaluations, newest first."""
        return self._all(Listing[EvaluationObject], "/v1/evaluations", params={})

    def evaluated(
        self, id: str, *, outcome: Outcome | None = None, model: str | None = None
    ) -> Iterator[EvaluatedQuery]:
        """What became of each query under the model, the second one where none is named."""
        wanted = {"outcome": outcome and outcome.value, "model": model}
        params = {name: value for name, value in wanted.items() if value is not None}
        return self._all(Listing[EvaluatedQuery], f"/v1/evaluations/{id}/queries", params=params)

    def job(self, id: str) -> FineTuningJob:
        """One training job."""
        return self._get(FineTuningJob, f"{_TUNING}/{id}")

    def any_job(self, id: str) -> Job:
        """One job of any kind."""
        return self._get(Job, f"/v1/jobs/{id}")

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Jobs of every kind that have all of this metadata, newest first."""
        wanted = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        return self._all(Listing[Job], "/v1/jobs", params=wanted)

    def cancel(self, id: str) -> Job:
        """The job is cancelled, or was asked to stop."""
        return self._post(Job, f"/v1/jobs/{id}/cancel", body={})

    def pause(self, id: str) -> FineTuningJob:
        """The training job is paused, or was asked to pause after its last finished step."""
        return self._post(FineTuningJob, f"{_TUNING}/{id}/pause", body={})

    def resume(self, id: str) -> FineTuningJob:
        """The paused training job waits again."""
        return self._post(FineTuningJob, f"{_TUNING}/{id}/resume", body={})

    def wait(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], None] = lambda _: None,
        poll_seconds: float = 0.5,
        timeout_seconds: float = float("inf"),
    ) -> Job:
        """The job, once it has ended; `on_progress` sees it at every look.

        Raises:
            TimeoutError: it has not ended in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            job = self.any_job(id)
            on_progress(job)
            if job.status in ENDED:
                return job
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {id} is still {job.status} after {timeout_seconds} s")
            time.sleep(poll_seconds)

    def events(self, id: str) -> Iterator[JobEvent]:
        """What happened to a training job, oldest first."""
        return self._all(Listing[JobEvent], f"{_TUNING}/{id}/events", params={"order": "asc"})

    def report(self, id: str) -> dict[str, Any]:
        """The report of a training that succeeded."""
        report = _checked(self._send("GET", f"{_TUNING}/{id}/report"))
        assert isinstance(report, dict)
        return report

    def models(self) -> list[ModelObject]:
        """Base models, and the newest tuned ones."""
        return self._get(Listing[ModelObject], "/v1/models", params={"limit": "100"}).data

    def model(self, id: str) -> ModelObject:
        """One model."""
        return self._get(ModelObject, f"/v1/models/{id}")

    def embed(self, texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT) -> NDArray[np.float32]:
        """The unit vectors of up to 2,048 texts; (n, D)."""
        body = {"model": model, "input": list(texts), "encoding_format": "base64", "input_type": side.value}
        answer = self._post(Embeddings, "/v1/embeddings", body=body)
        return np.stack([from_base64(str(item.embedding)) for item in answer.data])

    def create_collection(self, asked: CollectionCreate) -> CollectionObject:
        """An empty collection exists."""
        return self._post(CollectionObject, "/v1/collections", body=asked.model_dump(mode="json", exclude_unset=True))

    def collection(self, name: str) -> CollectionObject:
        """One collection, by name or id."""
        return self._get(CollectionObject, f"/v1/collections/{name}")

    def add_documents(self, name: str, documents: Iterable[Mapping[str, Any]]) -> DocumentsAccepted:
        """The documents are stored, and the job that makes them searchable waits; they are sent as they come."""
        lines = ((json.dumps(document) + "\n").encode() for document in documents)
        headers = {"content-type": "application/x-ndjson"}
        sent = self._http.post(f"/v1/collections/{name}/documents", content=lines, headers=headers)
        return _answer(DocumentsAccepted, sent)

    def query(self, name: str, text: str, *, k: int = 10) -> QueryAnswer:
        """The documents nearest to `text`."""
        return self._post(QueryAnswer, f"/v1/collections/{name}/query", body={"query": text, "k": k})

    def query_vector(self, name: str, vector: NDArray[np.float32], *, k: int = 10) -> QueryAnswer:
        """The documents nearest to a vector; (D,)."""
        return self._post(QueryAnswer, f"/v1/collections/{name}/query", body={"vector": vector.tolist(), "k": k})

    def _get(self, kind: type[A], path: str, *, params: Mapping[str, str] | None = None) -> A:
        return _answer(kind, self._send("GET", path, params=params))

    def _all(self, kind: type[Listing[A]], path: str, *, params: Mapping[str, str]) -> Iterator[A]:
        """Every element of a list, one window after another."""
        after: dict[str, str] = {}
        while True:
            page = self._get(kind, path, params={**params, "limit": "100", **after})
            yield from page.data
            if not page.has_more or page.last_id is None:
                return
            after = {"after": page.last_id}

    def _post(self, kind: type[A], path: str, *, body: object) -> A:
        return _answer(kind, self._http.post(path, json=body))

    def _send(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> httpx2.Response:
        """The answer to a request that may be repeated: a busy server is asked again when it says."""
        for _ in range(_ATTEMPTS - 1):
            answer = self._http.request(method, path, params=params)
            if answer.status_code not in (429, 503):
                return answer
            asked = answer.headers.get("retry-after", "1")
            time.sleep(min(float(asked) if asked.isdecimal() else 1.0, _LONGEST_PAUSE_SECONDS))
        return self._http.request(method, path, params=params)


def _is_loopback(url: str) -> bool:
    host = httpx2.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answer(kind: type[A], sent: httpx2.Response) -> A:
    return kind.model_validate(_checked(sent))


def _checked(sent: httpx2.Response) -> object:
    """The JSON of a good answer.

    Raises:
        ApiError: the answer is an error, or no JSON.
    """
    request_id = sent.headers.get("x-request-id")
    try:
        body = sent.json()
    except ValueError:
        message = f"the answer {sent.status_code} is no JSON; is this an infonce gateway?"
        raise ApiError(message, status=sent.status_code, code="no_json", request_id=request_id, body=None) from None
    if sent.is_success:
        return body
    error = body.get("error", {}) if isinstance(body, dict) else {}
    code, message = str(error.get("code", "unknown")), str(error.get("message", sent.reason_phrase))
    raise ApiError(message, status=sent.status_code, code=code, request_id=request_id, body=body)
