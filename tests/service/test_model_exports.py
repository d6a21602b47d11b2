"""A model is carried away as one tar and brought to another place, where it is the same model."""

import base64
import hashlib
from typing import Any

import pytest

from service.store.exports import KEPT_SECONDS
from tests.factories import tiny_model
from tests.service.conftest import BASE, Gateway, problem
from tests.service.test_keys import bearer, make
from tests.service.workshop import Bench, work_off


@pytest.fixture
def whole(gateway: Gateway) -> Gateway:
    """A gateway whose base model can be loaded."""
    root = gateway.parts.settings.hub.models_root
    assert root is not None
    tiny_model(root / BASE)
    return gateway


def ordered(gateway: Gateway, **more: Any) -> str:
    answer = gateway.http.post("/v1/model_exports", json={"model": BASE} | more)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def shown(gateway: Gateway, id: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.http.get(f"/v1/model_exports/{id}").json()
    return found


def test_an_export_is_a_job_and_then_a_tar_that_proves_itself(whole: Gateway) -> None:
    id = ordered(whole, format="safetensors")
    before = shown(whole, id)
    assert (before["object"], before["status"], before["bytes"]) == ("model_export", "queued", None)
    problem(whole.http.get(f"/v1/model_exports/{id}/content"), 409, "not_ready")
    assert work_off(whole.parts, "light").phases == ["exporting"]
    after, answer = shown(whole, id), whole.http.get(f"/v1/model_exports/{id}/content")
    assert (after["status"], after["bytes"]) == ("succeeded", len(answer.content))
    assert after["sha256"] == hashlib.sha256(answer.content).hexdigest()
    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:" and 'filename="tiny-base.tar"' in str(answer.headers)
    job = whole.http.get(f"/v1/jobs/{after['job']}").json()
    assert (job["kind"], job["result"]) == (
        "export",
        {"export": id, "bytes": after["bytes"], "sha256": after["sha256"]},
    )
    part = whole.http.get(f"/v1/model_exports/{id}/content", headers={"range": "bytes=512-1023"})
    assert (part.status_code, part.content) == (206, answer.content[512:1024])
    known = whole.http.get(f"/v1/model_exports/{id}/content", headers={"if-none-match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_equal_models_are_equal_bytes_and_count_as_stored_for_a_day(whole: Gateway) -> None:
    first, second = ordered(whole), ordered(whole)
    for _ in range(2):
        work_off(whole.parts, "light")
    tars = [whole.http.get(f"/v1/model_exports/{id}/content").content for id in (first, second)]
    assert tars[0] == tars[1]
    stored = whole.http.get("/v1/projects/default").json()["stored_bytes"]
    assert stored == 2 * len(tars[0])
    with whole.parts.database.write() as tx:
        tx.exec_driver_sql(f"UPDATE exports SET expires_at = expires_at - {KEPT_SECONDS} WHERE id = '{first}'")
    assert shown(whole, first)["status"] == "expired"
    whole.parts.sweep.once()
    problem(whole.http.get(f"/v1/model_exports/{first}/content"), 404, "not_found")
    assert whole.http.get("/v1/projects/default").json()["stored_bytes"] == len(tars[0])
    assert len([name for name in whole.artifacts() if name.startswith("exports/")]) == 2


def test_a_wish_to_cancel_is_heard_and_a_damaged_tar_is_not_sent(whole: Gateway) -> None:
    cancelled, kept = ordered(whole), ordered(whole)
    whole.http.post(f"/v1/jobs/{shown(whole, cancelled)['job']}/cancel")
    detail = problem(whole.http.get(f"/v1/model_exports/{cancelled}/content"), 409, "not_ready")["detail"]
    assert "cancelled" in detail
    work_off(whole.parts, "light")
    [tar] = (whole.parts.artifacts.root / "exports").glob("*/model.tar")
    tar.write_bytes(b"short")
    problem(whole.http.get(f"/v1/model_exports/{kept}/content"), 503, "artifact_corrupt")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nobody/knows"}, 422, "unknown_base_model"),
        ({"model": BASE, "format": "onnx"}, 422, "unsupported_value"),
        ({"model": BASE, "compression": "gzip"}, 422, "unknown_field"),
        ({}, 422, "missing_field"),
        ({"model": BASE}, 422, "model_invalid"),  # this gateway's has no weights
    ],
)
def test_what_cannot_be_exported_is_refused(gateway: Gateway, body: dict[str, str], status: int, code: str) -> None:
    problem(gateway.http.post("/v1/model_exports", json=body), status, code)
    assert gateway.http.get("/v1/jobs").json()["data"] == []


def test_a_fenced_export_leaves_nothing(whole: Gateway) -> None:
    ordered(whole)
    bench = Bench.claim(whole.parts, "light")
    publication = bench.published(bench.work())
    with whole.parts.database.write() as tx:
        tx.exec_driver_sql("UPDATE jobs SET attempt = attempt + 1")
    assert not bench.commit(publication)
    assert [name for name in whole.artifacts() if name.startswith("exports/")] == []


def test_an_exported_model_is_brought_to_another_project_and_is_the_same(whole: Gateway) -> None:
    id = ordered(whole)
    work_off(whole.parts, "light")
    tar = whole.http.get(f"/v1/model_exports/{id}/content").content
    own = bearer(make(whole, "other"))
    sent: dict[str, Any] = {"files": {"file": ("my model.tar", tar)}, "headers": own | {"idempotency-key": "k"}}
    answer, again = (whole.http.post("/v1/models", **sent) for _ in range(2))
    assert answer.status_code == 201 and again.json() == answer.json(), answer.text
    model = answer.json()
    assert model["id"].startswith("ft:my-model:imported:") and (model["kind"], model["owned_by"]) == (
        "imported",
        "other",
    )
    assert (model["dimensions"], model["max_tokens"], model["parent"], model["job"]) == (32, 64, None, None)
    assert model["prompts"] == {"query": "", "document": ""} and model["bytes"] > 0
    stored = whole.http.get("/v1/projects/other", headers=own).json()["stored_bytes"]
    assert stored == model["bytes"] and whole.http.get(f"/v1/models/{model['id']}").status_code == 401
    exported = whole.http.post("/v1/model_exports", json={"model": model["id"]}, headers=own).json()["id"]
    work_off(whole.parts, "light")
    assert whole.http.get(f"/v1/model_exports/{exported}/content", headers=own).content == tar
    assert whole.http.delete(f"/v1/models/{model['id']}", headers=own).is_success
    assert [name for name in whole.artifacts() if name.startswith("models/")] == []
