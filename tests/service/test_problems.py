"""One body for every error, and the headers that clients steer by."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from infonce import errors as library
from service import errors
from service.errors import PROBLEMS, describe
from service.store import errors as store
from tests.service.conftest import BASE, Gateway, problem
from tests.service.test_tenancy import judged


def test_an_unknown_path_is_a_problem(gateway: Gateway) -> None:
    assert "/nowhere" in problem(gateway.http.get("/nowhere"), 404, "not_found")["detail"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *(("/healthz", "GET"), ("/v1/files", "GET, POST"), ("/v1/files/x", "DELETE, GET"), ("/v1/embeddings", "POST")),
        *(("/v1/collections/x", "DELETE, GET"), ("/v1/collections/import", "POST")),
        ("/v1/fine_tuning/jobs/estimate", "POST"),
    ],
)
def test_a_wrong_method_is_a_problem_that_names_the_right_ones(gateway: Gateway, path: str, allowed: str) -> None:
    answer = gateway.http.patch(path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_a_parameter_out_of_range_is_named_with_its_limit(gateway: Gateway) -> None:
    body = problem(gateway.http.get("/v1/files?limit=0"), 422, "invalid_value")
    assert body["error"]["param"] == "limit" and "greater than or equal to 1" in body["detail"]


def test_a_fault_of_our_own_says_nothing_about_itself(serve: Callable[..., Gateway]) -> None:
    gateway = serve(raise_server_exceptions=False)
    gateway.http.app.state.wiring = None  # type: ignore[attr-defined]
    body = problem(gateway.http.get("/v1/files"), 500, "internal_error")
    assert body["error"]["type"] == "server_error" and "assert" not in body["detail"].lower()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/fine_tuning/jobs", {"training_file": "file"}, "model"),
        ("/v1/fine_tuning/jobs/estimate", {"training_file": "file"}, "model"),
        ("/v1/mining", {"training_file": "file"}, "model"),
        ("/v1/evaluations", {"file": "judged", "models": [BASE, "no/such"]}, "models.1"),
        ("/v1/model_exports", {}, "model"),
        ("/v1/collections", {"name": "faq"}, "model"),
        ("/v1/collections/pets/versions", {}, "model"),
    ],
)
def test_a_model_that_is_not_known_is_pointed_at(gateway: Gateway, path: str, body: dict[str, Any], param: str) -> None:
    gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    files = {"file": gateway.pairs(), "judged": judged(gateway)}
    sent = {name: files.get(str(value), value) for name, value in body.items()}
    if "models" not in body:
        sent["model"] = "no/such"
    found = problem(gateway.http.post(path, json=sent), 422, "unknown_base_model")
    assert found["error"]["param"] == param
    assert [place["pointer"] for place in found["errors"]] == ["/" + param.replace(".", "/")]


@pytest.mark.parametrize(("sent", "kept"), [("my-id.1", True), ("a b", False), ("x" * 129, False), ("", False)])
def test_a_sane_request_id_is_kept_and_any_other_replaced(gateway: Gateway, sent: str, kept: bool) -> None:
    answer = gateway.http.get("/healthz", headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert kept or answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("error", "code", "headers"),
    [
        (library.ConfigError("x", param="a.b"), "invalid_value", {}),
        (library.IndexCorrupt("x"), "artifact_corrupt", {"x-should-retry": "false"}),
        (store.NotFound("file", "x"), "not_found", {}),
        (store.Conflict("job_terminal", "x"), "job_terminal", {"x-should-retry": "false"}),
        (store.Conflict("new_rule", "x"), "conflict", {"x-should-retry": "false"}),
        (store.BadCursor("x"), "bad_cursor", {}),
        (store.StorageFull("x"), "storage_full", {}),
        (errors.Unavailable("overloaded", "x", retry_after_seconds=7), "overloaded", {"retry-after": "7"}),
        (errors.TooLarge("it", 5), "too_large", {"connection": "close"}),
        (ZeroDivisionError(), "internal_error", {"connection": "close"}),
    ],
)
def test_every_error_has_its_code_and_headers(error: Exception, code: str, headers: dict[str, str]) -> None:
    found = describe(error)
    assert (found.code, dict(found.headers)) == (code, headers)


def test_every_error_of_library_and_store_that_a_request_can_meet_stands_in_the_table() -> None:
    never = {"InfonceError", "StoreError", "ModelError", "IndexFault", "TrainingError", "NonFiniteLoss", "Stopped"}
    never |= {"Repeated", "InvalidSetting"}  # ends the start, not a request
    never |= {"LossInputError", "CheckpointMismatch", "OutOfMemory", "RankFailed"}  # only who trains meets them
    for module in (library, store):
        kinds = {k for k in vars(module).values() if isinstance(k, type) and issubclass(k, Exception)}
        for kind in kinds:
            known = any(base in errors.FOREIGN for base in kind.__mro__)
            assert known or kind.__name__ in never, kind
    assert set(errors.FOREIGN.values()) <= set(PROBLEMS)


def test_what_the_driver_says_of_the_database_is_for_the_log_alone() -> None:
    assert "db.internal" not in describe(store.StoreUnavailable("cannot reach db.internal")).detail


def test_a_gateway_is_built_without_torch_and_faiss() -> None:
    code = "import sys, service.gateway; print([m for m in ('torch', 'faiss', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
