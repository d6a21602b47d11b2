"""The request table: every route of the gateway, a row each, for every client.

`Call(method, path, sent=…, answer=…)`: what the arguments are, and what comes back. A new route is a new row; tests
compare the table, and what its rows can send, with the OpenAPI document.
"""

from pathlib import Path
from typing import Any, Final

from service.client_rows import Call, Listed, Streamed
from service.client_sent import (
    asked,
    asked_by_vector,
    asked_together,
    audited,
    brought,
    brought_collection,
    by_kind,
    by_metadata,
    by_purpose,
    cancelling,
    changed,
    changing,
    delivery,
    documents,
    drawn,
    dropped,
    exporting,
    keeping_best,
    listed,
    listed_in,
    listed_of,
    named,
    nothing,
    of_id,
    of_name,
    of_version,
    oldest_first,
    outcomes,
    part,
    posted,
    promoting,
    rolling_back,
    rows_of,
    saved,
    saved_export,
    stored,
    streamed,
    texts,
    uploaded,
)
from service.schemas.audits import FileIssues, FileStats
from service.schemas.collection_files import CollectionExport
from service.schemas.collections import (
    CollectionCreate,
    CollectionDeleted,
    CollectionObject,
    CollectionQuery,
    QueryAnswer,
    QueryAnswers,
)
from service.schemas.documents import (
    DocumentObject,
    DocumentsAccepted,
    DocumentsCount,
    DocumentsCounted,
    DocumentsDelete,
    DocumentsDeleted,
)
from service.schemas.duplicates import Duplicates, DuplicatesFind
from service.schemas.embeddings import Embeddings
from service.schemas.evaluations import EvaluatedQuery, EvaluationCreate, EvaluationObject
from service.schemas.files import FileDeleted, FileObject
from service.schemas.health import Health, Readiness
from service.schemas.job_answers import EstimateAccepted, FineTuningJob, Job, JobEvent
from service.schemas.jobs import JobCreate
from service.schemas.keys import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyDeleted,
    ApiKeyRotate,
    ProjectCreate,
    ProjectObject,
    ProjectUpdate,
)
from service.schemas.mining import MiningCreate
from service.schemas.models import ModelDeleted, ModelExport, ModelExportCreate, ModelObject
from service.schemas.progress_answers import JobCheckpoint, JobMetrics
from service.schemas.projection import Projection
from service.schemas.rows import DocumentRow, PairRow
from service.schemas.uploads import UploadComplete, UploadCreate, UploadObject, UploadPart
from service.schemas.versions import Compare, Comparison, VersionCreate, VersionDeleted, VersionObject
from service.schemas.webhooks import (
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointDeleted,
    WebhookEndpointUpdate,
    WebhookEventTypeList,
    WebhookSecretRotate,
    WebhookTest,
    WebhookTestResult,
)
from service.schemas.workers import WorkerObject

_TUNING: Final = "/v1/fine_tuning/jobs"


class Routes:
    """What every client can ask."""

    healthz = Call("GET", "/healthz", sent=nothing, answer=Health)
    readyz = Call("GET", "/readyz", sent=nothing, answer=Readiness)

    upload = Call("POST", "/v1/files", sent=uploaded, answer=FileObject)
    """The file is stored, and every line of it was read."""
    files = Listed("/v1/files", sent=by_purpose, element=FileObject)
    file = Call("GET", "/v1/files/{id}", sent=of_id, answer=FileObject)
    pair_rows = Listed("/v1/files/{id}/rows", sent=rows_of, element=PairRow)
    """The pairs of a file in their order, read as they are asked for."""
    document_rows = Listed("/v1/files/{id}/rows", sent=rows_of, element=DocumentRow)
    delete_file = Call("DELETE", "/v1/files/{id}", sent=of_id, answer=FileDeleted)
    file_issues = Call("GET", "/v1/files/{id}/issues", sent=audited, answer=FileIssues)
    file_stats = Call("GET", "/v1/files/{id}/stats", sent=audited, answer=FileStats)
    file_content = Call("GET", "/v1/files/{id}/content", sent=saved, answer=Path)
    """The bytes of the upload are a file here; so is all that ends with `_content`."""
    clean_file = Call("POST", "/v1/files/{id}/clean", sent=changing, answer=FileObject)
    """A new file without copies and conflicts."""

    create_upload = Call("POST", "/v1/uploads", sent=posted(UploadCreate), answer=UploadObject)
    """A file that will come in parts."""
    add_part = Call("POST", "/v1/uploads/{id}/parts", sent=part, answer=UploadPart)
    complete_upload = Call("POST", "/v1/uploads/{id}/complete", sent=changed(UploadComplete), answer=UploadObject)
    cancel_upload = Call("POST", "/v1/uploads/{id}/cancel", sent=changing, answer=UploadObject)

    create_job = Call("POST", _TUNING, sent=posted(JobCreate), answer=FineTuningJob)
    """A training waits."""
    order_estimate = Call("POST", _TUNING + "/estimate", sent=posted(JobCreate), answer=EstimateAccepted)
    tuning_jobs = Listed(_TUNING, sent=by_metadata, element=FineTuningJob)
    job = Call("GET", _TUNING + "/{id}", sent=of_id, answer=FineTuningJob)
    cancel_tuning = Call("POST", _TUNING + "/{id}/cancel", sent=changing, answer=FineTuningJob)
    pause = Call("POST", _TUNING + "/{id}/pause", sent=changing, answer=FineTuningJob)
    """The training job is paused, or was asked to pause after its last finished step."""
    resume = Call("POST", _TUNING + "/{id}/resume", sent=changing, answer=FineTuningJob)
    events = Listed(_TUNING + "/{id}/events", sent=oldest_first, element=JobEvent)
    """What happened to a training job, oldest first."""
    event_stream = Streamed(_TUNING + "/{id}/events/stream", sent=streamed)
    """What happened to a training job, what happens, and how it is meanwhile; `follow` goes on where it breaks."""
    checkpoints = Listed(_TUNING + "/{id}/checkpoints", sent=listed_of, element=JobCheckpoint)
    metrics = Call("GET", _TUNING + "/{id}/metrics", sent=of_id, answer=JobMetrics)
    """The curve of a training, as far as it is."""
    rerun = Call("POST", _TUNING + "/{id}/rerun", sent=changing, answer=FineTuningJob)
    """A new job that does what this one was asked to do."""
    keep_best = Call("POST", _TUNING + "/{id}/cancel", sent=keeping_best, answer=FineTuningJob)
    """The training ends after the step in hand and publishes the best that it has made."""
    report = Call("GET", _TUNING + "/{id}/report", sent=of_id, answer=dict[str, Any])
    report_page = Call("GET", _TUNING + "/{id}/report.html", sent=of_id, answer=str)

    jobs = Listed("/v1/jobs", sent=by_kind, element=Job)
    """Jobs of every kind and status, or of one, that have all of this metadata, newest first."""
    any_job = Call("GET", "/v1/jobs/{id}", sent=of_id, answer=Job)
    cancel = Call("POST", "/v1/jobs/{id}/cancel", sent=cancelling, answer=Job)
    """The job is cancelled, or was asked to stop."""
    any_event_stream = Streamed("/v1/jobs/{id}/events/stream", sent=streamed)
    pause_any = Call("POST", "/v1/jobs/{id}/pause", sent=changing, answer=Job)
    resume_any = Call("POST", "/v1/jobs/{id}/resume", sent=changing, answer=Job)

    mine = Call("POST", "/v1/mining", sent=posted(MiningCreate), answer=Job)
    """A job waits that will make a new file with hard negatives."""
    evaluate = Call("POST", "/v1/evaluations", sent=posted(EvaluationCreate), answer=EvaluationObject)
    """An evaluation exists, and its job waits."""
    evaluations = Listed("/v1/evaluations", sent=by_metadata, element=EvaluationObject)
    evaluation = Call("GET", "/v1/evaluations/{id}", sent=of_id, answer=EvaluationObject)
    evaluated = Listed("/v1/evaluations/{id}/queries", sent=outcomes, element=EvaluatedQuery)
    """What became of each query under the model, the second one where none is named."""

    every_model = Listed("/v1/models", sent=by_metadata, element=ModelObject)
    """Base models, and the tuned ones, newest first."""
    model = Call("GET", "/v1/models/{id}", sent=of_id, answer=ModelObject)
    bring_model = Call("POST", "/v1/models", sent=brought, answer=ModelObject)
    """A model is there, from a tar of its folder."""
    delete_model = Call("DELETE", "/v1/models/{id}", sent=of_id, answer=ModelDeleted)
    export_model = Call("POST", "/v1/model_exports", sent=posted(ModelExportCreate), answer=ModelExport)
    model_export = Call("GET", "/v1/model_exports/{id}", sent=of_id, answer=ModelExport)
    model_export_content = Call("GET", "/v1/model_exports/{id}/content", sent=saved, answer=Path)
    embeddings = Call("POST", "/v1/embeddings", sent=texts, answer=Embeddings)

    create_collection = Call("POST", "/v1/collections", sent=posted(CollectionCreate), answer=CollectionObject)
    collections = Listed("/v1/collections", sent=by_metadata, element=CollectionObject)
    collection = Call("GET", "/v1/collections/{c}", sent=of_name, answer=CollectionObject)
    delete_collection = Call("DELETE", "/v1/collections/{c}", sent=of_name, answer=CollectionDeleted)
    add_documents = Call("POST", "/v1/collections/{c}/documents", sent=documents, answer=DocumentsAccepted)
    """The documents are stored, sent as they come; for many texts a job makes them searchable."""
    documents = Listed("/v1/collections/{c}/documents", sent=stored, element=DocumentObject)
    """Those of these ids, or all."""
    delete_ids = Call("DELETE", "/v1/collections/{c}/documents", sent=dropped, answer=DocumentsDeleted)
    delete_documents = Call(
        "POST", "/v1/collections/{c}/documents/delete", sent=named(DocumentsDelete), answer=DocumentsDeleted
    )
    count = Call("POST", "/v1/collections/{c}/count", sent=named(DocumentsCount), answer=DocumentsCounted)
    create_version = Call("POST", "/v1/collections/{c}/versions", sent=named(VersionCreate), answer=VersionObject)
    versions = Listed("/v1/collections/{c}/versions", sent=listed_in, element=VersionObject)
    version = Call("GET", "/v1/collections/{c}/versions/{id}", sent=of_version, answer=VersionObject)
    delete_version = Call("DELETE", "/v1/collections/{c}/versions/{id}", sent=of_version, answer=VersionDeleted)
    promote = Call("POST", "/v1/collections/{c}/promote", sent=promoting, answer=CollectionObject)
    roll_back = Call("POST", "/v1/collections/{c}/rollback", sent=rolling_back, answer=CollectionObject)
    compare = Call("POST", "/v1/collections/{c}/compare", sent=named(Compare), answer=Comparison)
    export_collection = Call("POST", "/v1/collections/{c}/export", sent=exporting, answer=CollectionExport)
    collection_export = Call("GET", "/v1/collections/{c}/exports/{id}", sent=of_version, answer=CollectionExport)
    collection_export_content = Call("GET", "/v1/collections/{c}/exports/{id}/content", sent=saved_export, answer=Path)
    import_collection = Call("POST", "/v1/collections/import", sent=brought_collection, answer=CollectionObject)
    """A collection is there as a whole, from the file of an export."""
    duplicates = Call("POST", "/v1/collections/{c}/duplicates", sent=named(DuplicatesFind), answer=Duplicates)
    """Documents that are nearly the same, of one window."""
    projection = Call("GET", "/v1/collections/{c}/projection", sent=drawn, answer=Projection)
    """Documents as points of a plane."""
    query = Call("POST", "/v1/collections/{c}/query", sent=asked, answer=QueryAnswer)
    """The documents nearest to a text; with `hybrid` also those that share words with it."""
    ask = Call("POST", "/v1/collections/{c}/query", sent=named(CollectionQuery), answer=QueryAnswer)
    """The same with all that a query may say: filter, id of a document, offset, exact and the rest."""
    ask_together = Call("POST", "/v1/collections/{c}/query", sent=asked_together, answer=QueryAnswers)
    """Several queries, which one version answers."""
    query_vector = Call("POST", "/v1/collections/{c}/query", sent=asked_by_vector, answer=QueryAnswer)
    """The documents nearest to a vector; (D,)."""

    webhook_event_types = Call("GET", "/v1/webhook_event_types", sent=nothing, answer=WebhookEventTypeList)
    create_webhook = Call("POST", "/v1/webhook_endpoints", sent=posted(WebhookEndpointCreate), answer=WebhookEndpoint)
    webhooks = Listed("/v1/webhook_endpoints", sent=by_metadata, element=WebhookEndpoint)
    webhook = Call("GET", "/v1/webhook_endpoints/{id}", sent=of_id, answer=WebhookEndpoint)
    update_webhook = Call(
        "POST", "/v1/webhook_endpoints/{id}", sent=changed(WebhookEndpointUpdate), answer=WebhookEndpoint
    )
    delete_webhook = Call("DELETE", "/v1/webhook_endpoints/{id}", sent=of_id, answer=WebhookEndpointDeleted)
    rotate_webhook_secret = Call(
        "POST",
        "/v1/webhook_endpoints/{id}/rotate_secret",
        sent=changed(WebhookSecretRotate),
        answer=WebhookEndpoint,
    )
    test_webhook = Call("POST", "/v1/webhook_endpoints/{id}/test", sent=changed(WebhookTest), answer=WebhookTestResult)
    deliveries = Listed("/v1/webhook_endpoints/{id}/deliveries", sent=listed_of, element=WebhookDelivery)
    """What the endpoint was told, newest first."""
    replay = Call(
        "POST", "/v1/webhook_endpoints/{id}/deliveries/{delivery}/replay", sent=delivery, answer=WebhookDelivery
    )
    workers = Listed("/v1/workers", sent=listed, element=WorkerObject)

    create_key = Call("POST", "/v1/api_keys", sent=posted(ApiKeyCreate), answer=ApiKey)
    """A key, whose secret is shown this once."""
    api_keys = Listed("/v1/api_keys", sent=by_metadata, element=ApiKey)
    key = Call("GET", "/v1/api_keys/{id}", sent=of_id, answer=ApiKey)
    rotate_key = Call("POST", "/v1/api_keys/{id}/rotate", sent=changed(ApiKeyRotate), answer=ApiKey)
    delete_key = Call("DELETE", "/v1/api_keys/{id}", sent=of_id, answer=ApiKeyDeleted)
    create_project = Call("POST", "/v1/projects", sent=posted(ProjectCreate), answer=ProjectObject)
    projects = Listed("/v1/projects", sent=by_metadata, element=ProjectObject)
    project = Call("GET", "/v1/projects/{id}", sent=of_id, answer=ProjectObject)
    limit_project = Call("POST", "/v1/projects/{id}", sent=changed(ProjectUpdate), answer=ProjectObject)
