"""What a key may do: every route needs a scope, and the keys themselves are made and ended over HTTP."""

from typing import Any

import httpx2
import pytest

from service.callers import scope_of
from service.store import keys
from service.store.records import Scope
from tests.service.conftest import Gateway, problem
from tests.service.test_keys import bearer, make

NEEDED = {
    "GET /v1/files": "read",
    "POST /v1/files": "train",
    "GET /v1/files/{id}/rows": "read",
    "DELETE /v1/files/{id}": "train",
    "POST /v1/fine_tuning/jobs": "train",
    "POST /v1/fine_tuning/jobs/{id}/pause": "train",
    "POST /v1/jobs/{id}/cancel": "train",
    "POST /v1/mining": "train",
    "POST /v1/evaluations": "train",
    "GET /v1/evaluations/{id}/queries": "read",
    "GET /v1/files/{id}/content": "read",
    "POST /v1/uploads/{id}/parts": "train",
    "GET /v1/models": "read",
    "POST /v1/models": "train",
    "DELETE /v1/models/{id:path}": "train",
    "POST /v1/model_exports": "train",
    "GET /v1/model_exports/{id}/content": "read",
    "POST /v1/embeddings": "read",
    "POST /v1/collections": "index",
    "POST /v1/collections/{c}/documents": "index",
    "POST /v1/collections/import": "index",
    "POST /v1/collections/{c}/export": "index",
    "GET /v1/collections/{c}/exports/{id}/content": "read",
    "POST /v1/collections/{c}/query": "read",
    "POST /v1/collections/{c}/count": "read",
    "POST /v1/collections/{c}/documents/delete": "index",
    "DELETE /v1/collections/{c}/documents": "index",
    "GET /v1/api_keys": "admin",
    "GET /v1/workers": "read",
    "GET /v1/webhook_event_types": "read",
    "GET /v1/webhook_endpoints": "admin",
    "GET /v1/webhook_endpoints/{id}/deliveries": "admin",
    "POST /v1/webhook_endpoints/{id}/test": "admin",
    "POST /v1/projects/{id}": "admin",
    "POST /v1/thought_of_later": "admin",
}


def with_scopes(gateway: Gateway, *scopes: Scope, project: str = "default") -> dict[str, str]:
    with gateway.parts.database.write() as tx:
        return bearer(keys.create(tx, project, name="test", now=gateway.parts.clock(), scopes=scopes)[1])


def created(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("route", NEEDED)
def test_a_route_needs_the_scope_of_what_it_does(route: str) -> None:
    method, path = route.split()
    assert scope_of(method, path) == NEEDED[route]


def test_every_route_refuses_a_key_of_another_scope(gateway: Gateway) -> None:
    admin = bearer(make(gateway))
    key_of = {scope: with_scopes(gateway, scope) for scope in (Scope.READ, Scope.TRAIN, Scope.INDEX)}
    paths = gateway.http.get("/openapi.json", headers=admin).json()["paths"]
    routes = [(method, path) for path, methods in paths.items() for method in methods if path.startswith("/v1/")]
    assert len(routes) > 20
    for method, path in routes:
        needed = scope_of(method.upper(), path)
        for scope, key in key_of.items():
            answer = gateway.http.request(method, path.replace("{id}", "x").replace("{c}", "x"), headers=key)
            assert (answer.status_code == 403) is (scope is not needed), (method, path, scope, answer.text)


def test_a_missing_scope_is_named(gateway: Gateway) -> None:
    read = with_scopes(gateway, Scope.READ)
    body = problem(gateway.http.post("/v1/files", headers=read), 403, "insufficient_scope")
    assert "scope train; this one has read" in body["detail"]


def test_a_key_is_made_shown_once_listed_and_revoked(gateway: Gateway) -> None:
    admin = bearer(make(gateway))
    asked = {"name": "ci", "scopes": ["read", "train"], "expires_in_seconds": 3600}
    made = created(gateway.http.post("/v1/api_keys", json=asked, headers=admin))
    own = bearer(made["secret"])
    assert made["expires_at"] - made["created_at"] == 3600 and made["project"] == "default"
    assert gateway.http.get("/v1/files", headers=own).status_code == 200
    gateway.parts.sweep.once()
    shown = gateway.http.get(f"/v1/api_keys/{made['id']}", headers=admin).json()
    assert shown["last_used_at"] is not None and shown["secret"] is None
    assert made["secret"].split("_")[2] not in gateway.http.get("/v1/api_keys", headers=admin).text
    assert gateway.http.delete(f"/v1/api_keys/{made['id']}", headers=admin).json()["deleted"] is True
    problem(gateway.http.get("/v1/files", headers=own), 401, "invalid_api_key")
    problem(gateway.http.post(f"/v1/api_keys/{made['id']}/rotate", json={}, headers=admin), 409, "key_ended")


def test_a_rotated_key_lives_on_for_its_grace(gateway: Gateway) -> None:
    admin, old = bearer(make(gateway)), with_scopes(gateway, Scope.READ)
    id = old["authorization"].split("_")[1]
    kept = created(gateway.http.post(f"/v1/api_keys/{id}/rotate", json={}, headers=admin))
    assert gateway.http.get("/v1/files", headers=old).status_code == 200
    again = {"json": {"grace_seconds": 0}, "headers": admin}
    problem(gateway.http.post(f"/v1/api_keys/{id}/rotate", **again), 409, "key_ended")
    gone = created(gateway.http.post(f"/v1/api_keys/{kept['id']}/rotate", **again))
    problem(gateway.http.get("/v1/files", headers=bearer(kept["secret"])), 401, "invalid_api_key")
    assert gone["scopes"] == ["read"] and gateway.http.get("/v1/files", headers=bearer(gone["secret"])).is_success


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "n", "scopes": []}, "scopes"),
        ({"name": "n", "scopes": ["write"]}, "scopes"),
        ({"name": "n", "scopes": "admin"}, "scopes"),
        ({"name": "n", "project": "A b"}, "project"),
        ({"name": "n", "expires_in_seconds": 0}, "expires_in_seconds"),
        ({"name": "n", "expires_in_seconds": 2**70}, "expires_in_seconds"),
        ({"name": "n", "expires_at": 5}, "expires_at"),
    ],
)
def test_a_key_that_cannot_be_is_refused(gateway: Gateway, body: dict[str, Any], param: str) -> None:
    answer = gateway.http.post("/v1/api_keys", json=body)
    assert answer.status_code == 422 and answer.json()["error"]["param"].startswith(param)
    with gateway.parts.database.read() as tx:
        assert not keys.any_key(tx)


def test_an_administrator_of_a_project_sees_and_makes_its_keys_alone(gateway: Gateway) -> None:
    everything, own = bearer(make(gateway)), bearer(make(gateway, "team"))
    foreign = everything["authorization"].split("_")[1]
    assert [key["project"] for key in gateway.http.get("/v1/api_keys", headers=own).json()["data"]] == ["team"]
    assert created(gateway.http.post("/v1/api_keys", json={"name": "n"}, headers=own))["project"] == "team"
    refused = gateway.http.post("/v1/api_keys", json={"name": "n", "project": "default"}, headers=own)
    problem(refused, 403, "insufficient_scope")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = gateway.http.request(method, f"/v1/api_keys/{foreign}{path}", headers=own, json={} if path else None)
        random = gateway.http.request(method, f"/v1/api_keys/xxxxxxxx{path}", headers=own, json={} if path else None)
        assert (answer.status_code, random.status_code) == (404, 404)
    assert created(gateway.http.post("/v1/api_keys", json={"name": "n", "project": "team"}, headers=everything))
    slip = gateway.http.post("/v1/api_keys", json={"name": "n", "project": "taem"}, headers=everything)
    problem(slip, 404, "not_found")


def test_no_secret_is_logged(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    made = created(gateway.http.post("/v1/api_keys", json={"name": "ci"}))
    own = bearer(made["secret"])
    for method, path in (("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/files/nope"), ("GET", "/v1/nope")):
        gateway.http.request(method, path, headers=own)
    gateway.http.get("/v1/files", headers=bearer(made["secret"][:-1] + "!"))
    assert made["secret"].split("_")[2][:-1] not in caplog.text


def test_a_key_in_the_query_opens_nothing(gateway: Gateway) -> None:
    key = make(gateway)
    problem(gateway.http.get(f"/v1/files?api_key={key}&authorization={key}"), 401, "invalid_api_key")
