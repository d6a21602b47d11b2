"""Metadata that is none: refused by name on every route that takes it, on both databases, and nothing is kept."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from service.settings import GatewaySettings
from service.store.settings import StoreSettings
from tests.service.conftest import BASE, PAIR, Gateway, lines, problem
from tests.service.test_uploads import announce
from tests.store.conftest import (
    postgres,
    postgres_command,
    postgres_shared,
    postgres_url,
    sqlite_template,
    sqlite_url,
    url,
)

__all__ = [  # the fixtures
    "postgres",
    "postgres_command",
    "postgres_shared",
    "postgres_url",
    "sqlite_template",
    "sqlite_url",
    "url",
]

HOOK = {"name": "ci", "url": "https://93.184.216.34/hook", "event_types": ["job.failed"]}
ROWS = lines([PAIR, PAIR | {"query": "another"}])
UPLOAD = {"filename": "pairs.jsonl", "purpose": "fine-tune", "bytes": 9, "mime_type": "text/jsonl"}

MALFORMED: dict[str, str] = {
    "17 pairs": json.dumps({str(number): "v" for number in range(17)}),
    "a number": '{"k": 1}',
    "a truth": '{"k": true}',
    "null for a value": '{"k": null}',
    "an object in it": '{"k": {"a": "b"}}',
    "a list in it": '{"k": ["a"]}',
    "a list": '["a"]',
    "a text": '"a"',
    "a long key": json.dumps({"k" * 65: "v"}),
    "a long value": json.dumps({"k": "v" * 513}),
    "no key": '{"": "v"}',
    "NUL in a value": '{"k": "a\\u0000b"}',
    "NUL in a key": '{"a\\u0000b": "v"}',
    "a bell in a value": '{"k": "a\\u0007b"}',
    "a line in a key": '{"a\\nb": "v"}',
    "C1 in a value": '{"k": "\\u009b31m"}',
    "half a pair of surrogates": '{"k": "\\ud83e"}',
    "a number of 5000 digits": '{"k": %s}' % ("9" * 5_000),
}

NO_JSON = {"half a pair of surrogates", "a number of 5000 digits"}
"""A body that holds one of these is none."""


@pytest.fixture
def settings(settings: GatewaySettings, url: str, tmp_path: Path) -> GatewaySettings:
    """Of a gateway on each database."""
    return replace(settings, store=StoreSettings(database_url=url, artifacts=tmp_path / "artifacts"))


@pytest.fixture
def unharmed(gateway: Gateway) -> Iterator[Gateway]:
    """A gateway that has in the end what it had, and goes on."""

    def held() -> dict[str, Any]:
        return {path: gateway.http.get(f"/v1/{path}").json()["data"] for path in LISTS}

    assert gateway.http.post("/v1/collections", json={"name": "pets", "dimension": 2}).is_success
    assert gateway.http.post("/v1/projects", json={"id": "p", "metadata": {"team": "a"}}).is_success
    assert gateway.http.post("/v1/webhook_endpoints", json=HOOK | {"metadata": {"team": "a"}}).is_success
    before, stored = held(), gateway.artifacts()
    yield gateway
    assert (held(), gateway.artifacts()) == (before, stored)
    assert {one["id"]: one["metadata"] for one in before["projects"]} == {"default": {}, "p": {"team": "a"}}


def bodies(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every route that takes metadata as JSON, with a body that is right but for it."""
    endpoint = gateway.http.get("/v1/webhook_endpoints").json()["data"][0]["id"]
    file = "file-" + "0" * 26
    return {
        "/v1/uploads": UPLOAD,
        "/v1/api_keys": {"name": "ci"},
        "/v1/projects": {"id": "other"},
        "/v1/projects/p": {},
        "/v1/webhook_endpoints": HOOK,
        f"/v1/webhook_endpoints/{endpoint}": {},
        "/v1/model_exports": {"model": BASE},
        "/v1/collections/pets/export": {},
        "/v1/collections": {"name": "more", "dimension": 2},
        "/v1/fine_tuning/jobs": {"model": BASE, "training_file": file},
        "/v1/mining": {"model": BASE, "training_file": file},
        "/v1/evaluations": {"models": [BASE], "file": file},
    }


def test_a_json_body_with_bad_metadata_is_refused_by_name(unharmed: Gateway) -> None:
    for (path, body), (what, metadata) in product(bodies(unharmed).items(), MALFORMED.items()):
        raw = json.dumps({**body, "metadata": "HERE"}).replace('"HERE"', metadata)
        answer = unharmed.http.post(path, content=raw.encode(), headers={"content-type": "application/json"})
        told = problem(answer, 422, answer.json()["error"]["code"])
        assert ("body is not valid JSON" if what in NO_JSON else "metadata") in told["detail"], (what, path, told)
        assert told["detail"].isprintable(), (what, path, told)


FORMS = ("/v1/files", "/v1/models")


def form(gateway: Gateway, path: str, **fields: Any) -> Any:
    needed = {"purpose": "fine-tune"} if path == "/v1/files" else {"name": "mine"}
    return gateway.http.post(path, files={"file": ("pairs.jsonl", ROWS)}, data=needed | fields)


def test_a_form_with_bad_metadata_as_json_is_refused_by_name(unharmed: Gateway) -> None:
    bad = MALFORMED | {"no JSON": "team=search", "nothing": ""}
    for path, (what, raw) in product(FORMS, bad.items()):
        answer = form(unharmed, path, metadata=raw)
        told = problem(answer, 422, answer.json()["error"]["code"])
        assert "metadata" in told["detail"] and told["detail"].isprintable(), (what, told)
        assert told["error"]["param"].startswith("metadata"), (what, told)


PAIRS: dict[str, dict[str, Any]] = {
    "17 pairs": {f"metadata[{number}]": "v" for number in range(17)},
    "an object in it": {"metadata[a][b]": "v"},
    "a list in it": {"metadata[a][]": ["v", "w"]},
    "one key twice": {"metadata[a]": ["v", "w"]},
    "a long key": {f"metadata[{'k' * 65}]": "v"},
    "a long value": {"metadata[k]": "v" * 513},
    "no key": {"metadata[]": "v"},
    "NUL in a value": {"metadata[k]": "a\0b"},
    "a bell in a value": {"metadata[k]": "a\x07b"},
    "a line in a key": {"metadata[a\nb]": "v"},
    "no UTF-8": {"metadata[k]": b"\xff"},
    "both ways": {"metadata[a]": "v", "metadata": "{}"},
    "an open bracket": {"metadata[a": "v"},
}


def test_a_form_with_a_bad_field_for_a_key_is_refused_by_name(unharmed: Gateway) -> None:
    for path, (what, fields) in product(FORMS, PAIRS.items()):
        answer = form(unharmed, path, **fields)
        told = problem(answer, 422, answer.json()["error"]["code"])
        assert "metadata" in told["detail"] and len(told["detail"]) < 400, (what, told)


def test_a_field_that_is_no_metadata_by_far_is_cut_off(unharmed: Gateway) -> None:
    for fields in ({"metadata[k]": "v" * 20_000}, {"metadata": " " * 200_000}):
        assert "metadata" in problem(form(unharmed, "/v1/files", **fields), 413, "too_large")["detail"]


def test_a_part_of_an_upload_takes_no_metadata(gateway: Gateway) -> None:
    upload = announce(gateway, len(ROWS))
    for name in ("metadata", "metadata[k]"):
        sent = {"files": {"data": ("part", ROWS)}, "data": {name: "{}"}}
        problem(gateway.http.post(f"/v1/uploads/{upload}/parts", **sent), 422, "unknown_field")


FILTERS = (
    "metadata=v",
    "metadata=null",
    "metadata[]=v",
    "metadata[k=v",
    "metadata[k]x=v",
    "metadata[a][b]=v",
    f"metadata[{'k' * 65}]=v",
    f"metadata[k]={'v' * 513}",
    "metadata[k]=a%00b",
    "metadata[a%00b]=v",
    "metadata[k]=a%07b",
    "&".join(f"metadata[{number}]=v" for number in range(17)),
    "&".join(f"metadata[{number}]=v" for number in range(2_000)),
)
LISTS = ("files", "models", "api_keys", "projects", "webhook_endpoints", "evaluations", "collections", "jobs")


def test_a_filter_that_nothing_can_fit_is_refused_by_name(unharmed: Gateway) -> None:
    for path, query in product((*LISTS, "fine_tuning/jobs"), FILTERS):
        answer = unharmed.http.get(f"/v1/{path}?{query}")
        told = problem(answer, 422, answer.json()["error"]["code"])
        assert "metadata" in told["detail"], (path, query)


ODD = ('"', "'", "\\", "%", "_", "{}", "null", "ä", "🦊", "\n\t", " ", "a' OR '1'='1", "$.k", "a]b", "]")


def test_an_odd_value_or_key_is_found_as_itself_and_nothing_else_is(gateway: Gateway) -> None:
    for place, value in enumerate(ODD):
        key = value if value.isprintable() else "k"
        for number, metadata in enumerate(({key: value}, {key: f"{value}x"}, {f"{key}x": value}, {})):
            body = {"name": f"c{place}-{number}", "dimension": 2, "metadata": metadata}
            assert gateway.http.post("/v1/collections", json=body).is_success
        found = gateway.http.get("/v1/collections", params={f"metadata[{key}]": value}).json()["data"]
        assert [(one["name"], one["metadata"]) for one in found] == [(f"c{place}-0", {key: value})]
