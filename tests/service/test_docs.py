"""The API's description: complete, and drawn with the gateway's own files alone."""

import re
from typing import Any

import pytest

from service.errors import PROBLEMS
from tests.service.conftest import Gateway, problem


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in references(value)]
    return [found for value in node for found in references(value)] if isinstance(node, list) else []


def test_every_reference_of_the_document_resolves(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    known = {f"#/components/{kind}/{name}" for kind, named in document["components"].items() for name in named}
    assert set(references(document)) <= known


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/fine_tuning/jobs", "JobCreate"),
        ("/v1/embeddings", "EmbeddingCreate"),
        ("/v1/collections", "CollectionCreate"),
        ("/v1/collections/{c}/documents", "DocumentsUpsert"),
        ("/v1/collections/{c}/query", "CollectionQuery"),
    ],
)
def test_the_bodies_that_are_read_by_hand_are_described(gateway: Gateway, path: str, schema: str) -> None:
    document = gateway.http.get("/openapi.json").json()
    content = document["paths"][path]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{schema}"}
    assert document["components"]["schemas"][schema]["additionalProperties"] is False


def test_every_error_has_the_one_shape_and_is_one_that_can_be(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    known, found = document["components"]["responses"], set()
    for methods in document["paths"].values():
        for operation in methods.values():
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
            assert {"400", "500", "503"} <= set(errors) and len(errors) < len(known)
            for status, answer in errors.items():
                assert list(known[answer["$ref"].rsplit("/", 1)[-1]]["content"]) == ["application/problem+json"]
                found.add(int(status))
    assert found == {kind.status for kind in PROBLEMS.values()} - {405}  # which is no operation's


def test_an_upload_is_described_as_a_form(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    form = document["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "purpose"]


def test_the_root_leads_to_the_page(gateway: Gateway) -> None:
    answer = gateway.http.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


def test_the_page_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = gateway.http.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) == 4
    for source in sources:
        assert source.startswith("/docs/") and gateway.http.get(source).status_code == 200
    assert "://" not in page + gateway.http.get("/docs/start.js").text


@pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "swagger-ui.js.map"])
def test_no_other_file_of_the_bundle_is_served(gateway: Gateway, name: str) -> None:
    problem(gateway.http.get(f"/docs/{name}"), 404, "not_found")


def test_every_code_has_a_status_that_is_an_error() -> None:
    assert all(400 <= kind.status < 600 and kind.title for kind in PROBLEMS.values())
