"""Every error that the gateway answers with, and the one table from errors to HTTP.

ServiceError              an answer with an error body; its code decides the status
├── InvalidInput          the request breaks a rule; carries every broken place
├── NotAuthenticated      no key, or not one of ours; one message for all cases
├── TooLarge              a body is over its limit, which the message names
├── Unavailable           cannot be served just now; says when to come again
└── StartRefused          the process may not start; shown by the command, never sent
ApiError                  raised by the client for an answer that is an error
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infonce import errors as library
from service.store import errors as store


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means to every caller: a status and a title that never varies."""

    status: int
    title: str


PROBLEMS: Mapping[str, Kind] = {
    "bad_cursor": Kind(400, "Cursor is not known"),
    "bad_request": Kind(400, "Request cannot be understood"),
    "digest_mismatch": Kind(400, "Body is not what its digest says"),
    "incomplete_body": Kind(400, "Body ended early"),
    "malformed_multipart": Kind(400, "Multipart body is malformed"),
    "no_model": Kind(400, "Collection has no model"),
    "no_texts": Kind(400, "Collection has no texts"),
    "token_input": Kind(400, "Token ids are not accepted"),
    "unsupported_dimensions": Kind(400, "Model has other dimensions"),
    "invalid_api_key": Kind(401, "API key is missing or not valid"),
    "insufficient_scope": Kind(403, "Key may not do this"),
    "storage_quota": Kind(403, "Project has stored as much as it may"),
    "model_not_found": Kind(404, "Model is not known"),
    "not_found": Kind(404, "Nothing is here"),
    "method_not_allowed": Kind(405, "Method is not allowed here"),
    "request_timeout": Kind(408, "Request came too slowly"),
    "conflict": Kind(409, "State does not allow this"),
    "endpoint_unreachable": Kind(409, "Webhook endpoint did not answer"),
    "guard_failed": Kind(409, "Guard is not met"),
    "idempotency_mismatch": Kind(409, "Idempotency-Key was used for another request"),
    "in_use": Kind(409, "Object is in use"),
    "job_terminal": Kind(409, "Job has ended"),
    "key_ended": Kind(409, "Key has ended"),
    "name_taken": Kind(409, "Name is taken"),
    "no_words": Kind(409, "Version has no index of words"),
    "not_ready": Kind(409, "Not ready yet"),
    "upload_ended": Kind(409, "Upload has ended"),
    "secret_shown": Kind(409, "Secret was shown once"),
    "precondition_failed": Kind(412, "State is not what was expected"),
    "decompressed_too_large": Kind(413, "File is too large when unpacked"),
    "too_large": Kind(413, "Body is too large"),
    "unsupported_encoding": Kind(415, "Content encoding is not supported"),
    "unsupported_media_type": Kind(415, "Content type is not supported"),
    "range_not_satisfiable": Kind(416, "Range lies outside of the file"),
    "answer_too_large": Kind(422, "Answer would be too large"),
    "collection_invalid": Kind(422, "Exported collection is not valid"),
    "dataset_invalid": Kind(422, "Dataset is invalid"),
    "duplicate_id": Kind(422, "An id is given twice"),
    "empty_text": Kind(422, "Text is empty"),
    "forbidden_file": Kind(422, "File does not belong into a model"),
    "index_mismatch": Kind(422, "Vector does not fit the index"),
    "invalid_json": Kind(422, "Body is not valid JSON"),
    "invalid_text": Kind(422, "Text is not allowed"),
    "invalid_value": Kind(422, "Value is not allowed"),
    "line_too_long": Kind(422, "Line is too long"),
    "metadata_too_large": Kind(422, "Metadata is too large"),
    "missing_field": Kind(422, "Field is missing"),
    "model_invalid": Kind(422, "Model is not valid"),
    "text_too_long": Kind(422, "Text is too long"),
    "too_few_pairs": Kind(422, "There are too few pairs"),
    "unknown_base_model": Kind(422, "Base model is not known"),
    "unknown_field": Kind(422, "Field is not known"),
    "unknown_key": Kind(422, "No document has the metadata key"),
    "unsafe_model": Kind(422, "Model would run code"),
    "unsupported_value": Kind(422, "Value is not supported"),
    "embedding_limit": Kind(429, "Too many texts wait"),
    "queue_limit": Kind(429, "Too many jobs wait"),
    "rate_limited": Kind(429, "Too many requests"),
    "internal_error": Kind(500, "Fault of the service"),
    "artifact_corrupt": Kind(503, "Stored files are damaged"),
    "audit_running": Kind(503, "Audit is being made"),
    "overloaded": Kind(503, "Too much work at once"),
    "unavailable": Kind(503, "Not available now"),
    "store_unavailable": Kind(503, "Store cannot be reached"),
    "storage_full": Kind(507, "Storage is full"),
}
"""The table: every code that an answer can carry."""

FOREIGN: Mapping[type[Exception], str] = {
    library.ConfigError: "invalid_value",
    library.TooFewPairs: "too_few_pairs",
    library.DatasetError: "dataset_invalid",
    library.UnknownModel: "unknown_base_model",
    library.InvalidModel: "model_invalid",
    library.ForbiddenFile: "forbidden_file",
    library.UnsafeModel: "unsafe_model",
    library.InvalidCollection: "collection_invalid",
    library.IndexMismatch: "index_mismatch",
    library.IndexCorrupt: "artifact_corrupt",
    store.NotFound: "not_found",
    store.Conflict: "conflict",
    store.StorageFull: "storage_full",
    store.ArtifactCorrupt: "artifact_corrupt",
    store.InvalidValue: "invalid_value",
    store.BadCursor: "bad_cursor",
    store.StoreUnavailable: "store_unavailable",
    store.SchemaMismatch: "store_unavailable",
}
"""Errors of the library and the store; the nearest class in the inheritance counts."""

OF_STATUS: Mapping[int, str] = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
"""What the framework refuses on its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One broken place of a request: a line of an upload or a JSON pointer into a body, and a sentence."""

    line: int | None = None
    pointer: str | None = None
    code: str
    detail: str


class ServiceError(Exception):
    """An answer with an error body; `str(error)` is one sentence: value, limit, remedy."""

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        assert code in PROBLEMS, code
        self.code = code
        self.param = param


class InvalidInput(ServiceError):
    """The request breaks a rule; `places` names every broken place, the first one decides the code."""

    def __init__(self, places: Sequence[Place], *, param: str | None = None) -> None:
        super().__init__(places[0].code, places[0].detail, param=param)
        self.places = tuple(places)


class NotAuthenticated(ServiceError):
    """No key, an unknown one or a wrong secret: the caller cannot tell which."""

    def __init__(self) -> None:
        message = "This server needs an API key: send `Authorization: Bearer inf_…` with a key that it knows."
        super().__init__("invalid_api_key", message)


class TooLarge(ServiceError):
    """A body is over its limit."""

    def __init__(self, what: str, limit_bytes: int, *, remedy: str = "send less at once") -> None:
        super().__init__("too_large", f"{what} is over the limit of {limit_bytes} bytes; {remedy}")


class Unavailable(ServiceError):
    """Cannot be served just now; `retry_after_seconds` says when to come again."""

    def __init__(self, code: str, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(code, message)
        self.retry_after_seconds = retry_after_seconds


class StartRefused(ServiceError):
    """The process may not start as it is configured; the message says what to change."""

    def __init__(self, message: str) -> None:
        super().__init__("unavailable", message)


class ApiError(Exception):
    """The server answered with an error; the client raises it with what the body says."""

    def __init__(self, message: str, *, status: int, code: str, request_id: str | None, body: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.body = body


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One error as an answer: what `problems.py` writes."""

    code: str
    detail: str
    param: str | None = None
    places: tuple[Place, ...] = ()
    num_further: int = 0
    """How many broken places there are beside the listed ones."""
    headers: Mapping[str, str] = field(default_factory=dict)
    status_override: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status: the code's own, or the framework's where it knows one that we do not."""
        return self.status_override or PROBLEMS[self.code].status


def describe(error: Exception) -> Problem:
    """The problem that `error` is to a caller; what stands in no table is our own fault, and says no more."""
    if isinstance(error, ServiceError):
        return _own(error)
    code = next((FOREIGN[kind] for kind in type(error).__mro__ if kind in FOREIGN), None)
    if code is None:
        detail = "The service failed; its log names this request_id."
        return Problem(code="internal_error", detail=detail, headers=_headers("internal_error"))
    if isinstance(error, store.Conflict) and error.code in PROBLEMS:
        code = error.code
    if isinstance(error, library.DatasetError):
        return _dataset(error)
    if code == "store_unavailable":  # the driver's own words name hosts and users: they are for the log
        detail = "The database or the artifact folder does not answer; try again soon."
        return Problem(code=code, detail=detail, headers=_headers(code))
    param = error.param if isinstance(error, library.ConfigError) else None
    places = _place_of(code, param, detail=str(error))
    return Problem(code=code, detail=str(error), param=param, places=places, headers=_headers(code))


def _own(error: ServiceError) -> Problem:
    places = error.places if isinstance(error, InvalidInput) else _place_of(error.code, error.param, detail=str(error))
    seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
    headers = _headers(error.code, seconds)
    return Problem(code=error.code, detail=str(error), param=error.param, places=places, headers=headers)


def _place_of(code: str, param: str | None, *, detail: str) -> tuple[Place, ...]:
    """The one broken place, where the error names a field of the body."""
    if param is None or PROBLEMS[code].status != 422:
        return ()
    return (Place(pointer="/" + param.replace(".", "/"), code=code, detail=detail),)


def _dataset(error: library.DatasetError) -> Problem:
    places = tuple(
        Place(
            line=issue.line,
            pointer=None if issue.field is None else f"/{issue.field}",
            code=issue.code,
            detail=issue.detail,
        )
        for issue in error.issues
    )
    further = error.num_issues - len(places)
    code = "decompressed_too_large" if places[0].code == "decompressed_too_large" else "dataset_invalid"
    return Problem(code=code, detail=str(error), places=places, num_further=further)


def _headers(code: str, retry_after_seconds: int | None = None) -> dict[str, str]:
    """The headers that clients steer by: when to retry, when not to, how to authenticate."""
    status = PROBLEMS[code].status
    if status == 401:
        return {"www-authenticate": 'Bearer realm="infonce"'}
    if status == 409 or code == "artifact_corrupt":  # waiting changes nothing
        return {"x-should-retry": "false"}
    if status in (408, 413, 500):  # the rest of the body is not wanted; after a fault uvicorn ends the connection
        return {"connection": "close"}
    return {"retry-after": str(retry_after_seconds or 1)} if status in (429, 503) else {}
