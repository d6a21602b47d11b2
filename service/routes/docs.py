"""The API's own description: the OpenAPI document and a page that draws it, with no file from elsewhere."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from service.documented import error_responses, errors_of
from service.errors import ServiceError
from service.schemas.collection_files import CollectionExportCreate
from service.schemas.collections import CollectionCreate, CollectionQuery
from service.schemas.documents import DocumentsCount, DocumentsDelete, DocumentsUpsert
from service.schemas.duplicates import DuplicatesFind
from service.schemas.embeddings import EmbeddingCreate
from service.schemas.evaluations import EvaluationCreate
from service.schemas.jobs import JobCreate
from service.schemas.keys import ApiKeyCreate, ApiKeyRotate, ProjectCreate, ProjectUpdate
from service.schemas.mining import MiningCreate
from service.schemas.models import ModelExportCreate
from service.schemas.problem import ProblemBody
from service.schemas.uploads import UploadComplete, UploadCreate
from service.schemas.versions import Compare, Promote, Rollback, VersionCreate
from service.schemas.webhooks import (
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookSecretRotate,
    WebhookTest,
)

router = APIRouter(include_in_schema=False)

_BODIES = (
    JobCreate,
    MiningCreate,
    EvaluationCreate,
    UploadCreate,
    UploadComplete,
    ModelExportCreate,
    EmbeddingCreate,
    CollectionCreate,
    CollectionExportCreate,
    DocumentsCount,
    DocumentsDelete,
    DocumentsUpsert,
    DuplicatesFind,
    CollectionQuery,
    Compare,
    Promote,
    Rollback,
    VersionCreate,
    ApiKeyCreate,
    ApiKeyRotate,
    ProjectCreate,
    ProjectUpdate,
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookSecretRotate,
    WebhookTest,
    ProblemBody,
)
"""The models that FastAPI never sees: `bodies.py` reads them."""

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>infonce API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon-32x32.png"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""

_START = """fetch("/openapi.json").then((answer) => answer.json()).then((spec) => {
  spec.openapi = "3.0.3"; // the vendored Swagger UI 4 refuses to draw 3.1, which differs in nothing that we use
  SwaggerUIBundle({spec, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
});
"""


@router.get("/")
async def root() -> RedirectResponse:
    """The page for people."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def page() -> HTMLResponse:
    """Swagger UI."""
    return HTMLResponse(_PAGE)


@router.get("/docs/start.js")
async def start() -> Response:
    """What the page runs."""
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{name}")
def asset(name: str) -> FileResponse:
    """One of the page's own files."""
    from swagger_ui_bundle import swagger_ui_path

    if name not in _ASSETS:
        raise ServiceError("not_found", "There is no such file; see /docs.")
    return FileResponse(swagger_ui_path / name, media_type=_ASSETS[name])


def describe_api(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies and errors that FastAPI itself does not know."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, bodies = models_json_schema(
        [(body, "validation") for body in _BODIES], ref_template="#/components/schemas/{model}"
    )
    components = document["components"]
    components["schemas"] |= bodies["$defs"]
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}, {}]  # on loopback none is needed while none exists
    components["responses"] = error_responses()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["responses"].pop("422", None)  # FastAPI's own shape, which nobody ever sees here
            if method == "get" and "application/json" in operation["responses"]["200"].get("content", {}):
                operation["responses"]["304"] = {"description": "If-None-Match names the ETag that it has"}
            operation["responses"] |= errors_of(method, path, operation=operation)
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    app.openapi_schema = document
    return document
