"""Which errors the OpenAPI document says that an operation may answer with: the statuses of `PROBLEMS`, each where it
can be. An answer with another one is a fault, and the tests look for it.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from service.errors import PROBLEMS

_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
_STATUSES: Final = sorted({kind.status for kind in PROBLEMS.values()})

_NAMES_NOTHING: Final = frozenset({"/v1/files", "/v1/models", "/v1/projects", "/v1/uploads", "/v1/webhook_endpoints"})
"""Whose bodies have no id or name of what exists already."""
_NAMING: Final = frozenset({"held_out", "model"})
"""What of a query string names an object that may not exist."""
_READY_LATER: Final = frozenset(
    {
        "/v1/collections/{c}/compare",
        "/v1/collections/{c}/count",
        "/v1/collections/{c}/duplicates",
        "/v1/collections/{c}/exports/{id}/content",
        "/v1/collections/{c}/projection",
        "/v1/collections/{c}/query",
        "/v1/evaluations/{id}/queries",
        "/v1/fine_tuning/jobs/{id}/report",
        "/v1/fine_tuning/jobs/{id}/report.html",
        "/v1/model_exports/{id}/content",
    }
)
"""What is asked for what may be still being made."""
_NEVER_IN_THE_WAY: Final = frozenset({"/v1/collections/{c}/documents/delete", "/v1/projects/{id}"})
_MADE_WHEN_ASKED: Final = frozenset({"/v1/files/{id}/issues", "/v1/files/{id}/stats"})
"""What a GET makes, and keeps on the disk."""


def error_responses() -> dict[str, Any]:
    """Every error as a component of the document, by its status."""
    return {_name(status): {"description": HTTPStatus(status).phrase, "content": _PROBLEM} for status in _STATUSES}


def errors_of(method: str, path: str, *, operation: Mapping[str, Any]) -> dict[str, Any]:
    """The errors of one operation, as references to these components."""
    found = sorted(set(_found(method, path, operation=operation)))
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in found}


def _found(method: str, path: str, *, operation: Mapping[str, Any]) -> Iterator[int]:
    yield from (400, 500, 503)
    if not path.startswith("/v1/"):
        return
    yield from (401, 403, 429)
    parameters = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    has_body = "requestBody" in operation
    if "{" in path or (has_body and path not in _NAMES_NOTHING) or parameters & _NAMING:
        yield 404
    if has_body:
        yield from (408, 413, 415)
    if path in _READY_LATER or (method != "get" and path not in _NEVER_IN_THE_WAY):
        yield 409
    if "if-match" in parameters:
        yield 412
    if "206" in operation["responses"]:
        yield 416
    if method == "post" or any(parameter["in"] != "path" for parameter in operation.get("parameters", [])):
        yield 422
    if method != "get" or path in _MADE_WHEN_ASKED:
        yield 507


def _name(status: int) -> str:
    return f"Error{status}"
