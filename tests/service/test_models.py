"""Models: base models that are known, tuned ones that jobs made."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from infonce.report_page import report_page
from service.dependencies import Wiring
from service.store import catalog, jobs
from service.store.errors import NotFound
from service.store.records import DEFAULT_PROJECT, JobKind, JobRecord, JobStatus, ModelRecord, Phase, new_id
from tests.infonce.reported import toy_report
from tests.service.conftest import BASE, DIMENSIONS, Gateway, problem
from tests.service.test_tenancy import judged

TUNED = "ft:base:faq:abcd1234"


def published(parts: Wiring, name: str = TUNED, report: dict[str, Any] | None = None, page: str | None = None) -> str:
    """The id of the job of a tuned model that was published as a worker does."""
    now, folder = parts.clock(), name.replace(":", "-")
    job = JobRecord(
        id=new_id("ftjob"),
        project=DEFAULT_PROJECT,
        kind=JobKind.TRAIN,
        status=JobStatus.SUCCEEDED,
        phase=Phase.EXPORTING,
        created_at=now,
        spec={},
        result={"model": name},
    )
    model = ModelRecord(
        id=name,
        project=DEFAULT_PROJECT,
        created_at=now,
        folder=folder,
        parent=BASE,
        job_id=job.id,
        dimensions=DIMENSIONS,
        max_tokens=64,
        fingerprint="words",
        summary={"verdict": "better"},
        num_bytes=123,
        data_sha256="d" * 64,
    )
    path = parts.artifacts.model_path(folder)
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"hidden_size": DIMENSIONS}))
    prompts = {"prompts": {"query": "query: ", "document": ""}}
    (path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (path / "report.json").write_text(json.dumps(report or {}))
    if page is not None:
        (path / "report.html").write_text(page)
    parts.artifacts.seal(path)
    with parts.database.write() as tx:
        jobs.insert(tx, job)
        catalog.insert_model(tx, model)
    return job.id


@pytest.fixture
def publish(gateway: Gateway) -> Callable[..., str]:
    """Publishes a tuned model as a worker does; gives its job's id."""
    return partial(published, gateway.parts)


def test_base_models_are_listed_with_what_their_folders_say(gateway: Gateway) -> None:
    listed = {model["id"]: model for model in gateway.http.get("/v1/models").json()["data"]}
    base = listed[BASE]
    assert (base["object"], base["kind"], base["created"], base["owned_by"]) == ("model", "base", 0, "tiny")
    assert (base["dimensions"], base["max_tokens"]) == (DIMENSIONS, 64)
    assert gateway.http.get(f"/v1/models/{BASE}").json() == base


def test_a_folder_that_cannot_be_used_does_not_hide_the_others(gateway: Gateway) -> None:
    root = gateway.parts.settings.hub.models_root
    assert root is not None
    (root / "odd").mkdir()
    (root / "odd" / "config.json").write_text('{"text_config": {}}')
    listed = {model["id"]: model["dimensions"] for model in gateway.http.get("/v1/models").json()["data"]}
    assert (listed["odd"], listed[BASE]) == (None, DIMENSIONS)
    problem(gateway.http.post("/v1/embeddings", json={"model": "odd", "input": "a"}), 422, "model_invalid")


def test_a_tuned_model_names_its_parent_job_and_verdict(gateway: Gateway, publish: Callable[..., str]) -> None:
    job = publish()
    model = gateway.http.get(f"/v1/models/{TUNED}").json()
    assert (model["id"], model["kind"], model["parent"], model["job"]) == (TUNED, "tuned", BASE, job)
    assert (model["dimensions"], model["evaluation"]) == (DIMENSIONS, {"verdict": "better"})
    assert (model["max_tokens"], model["data_sha256"], model["bytes"]) == (64, "d" * 64, 123)
    assert model["prompts"] == {"query": "query: ", "document": ""}
    assert model in gateway.http.get("/v1/models").json()["data"]


def test_a_damaged_folder_hides_its_prompts_and_nothing_else(gateway: Gateway, publish: Callable[..., str]) -> None:
    publish()
    (gateway.parts.artifacts.model_path(TUNED.replace(":", "-")) / "config.json").write_text("{")
    model = gateway.http.get(f"/v1/models/{TUNED}").json()
    assert (model["prompts"], model["dimensions"], model["fingerprint"]) == (None, DIMENSIONS, "words")


def test_a_tuned_model_is_legal_wherever_a_model_is_asked_for(gateway: Gateway, publish: Callable[..., str]) -> None:
    publish()
    answer = gateway.http.post("/v1/embeddings", json={"model": TUNED, "input": "the dog"})
    assert answer.json()["model"] == TUNED and gateway.loaded == [TUNED]
    assert gateway.order(model=TUNED, training_file=gateway.pairs()).status_code == 200
    made = gateway.http.post("/v1/collections", json={"name": "faq", "model": TUNED}).json()
    assert (made["model"], made["dimension"]) == (TUNED, DIMENSIONS)


def test_tuned_models_come_window_by_window_behind_the_base_models(
    gateway: Gateway, publish: Callable[..., str]
) -> None:
    names = [f"ft:base:faq:{number:08}" for number in range(3)]
    for name in names:
        publish(name)
    first = gateway.http.get("/v1/models?limit=2").json()
    tuned = [model["id"] for model in first["data"] if model["kind"] == "tuned"]
    assert (tuned, first["has_more"]) == ([names[2], names[1]], True)
    rest = gateway.http.get(f"/v1/models?limit=2&after={first['last_id']}").json()
    assert [model["id"] for model in rest["data"]] == [names[0]]


def test_the_report_is_the_one_in_the_models_folder(gateway: Gateway, publish: Callable[..., str]) -> None:
    job = publish(report={"losses": [2.0, 1.0]})
    assert gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report").json() == {"losses": [2.0, 1.0]}


def test_the_page_of_a_report_can_load_and_run_nothing(gateway: Gateway, publish: Callable[..., str]) -> None:
    job = publish(report=toy_report(), page="<p>as it was written</p>")
    answer = gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report.html", headers={"accept": "*/*"})
    assert answer.text == "<p>as it was written</p>" and answer.headers["content-type"] == "text/html; charset=utf-8"
    rules = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "sandbox", "frame-ancestors 'none'"} <= set(rules)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report").json() == toy_report()


def test_a_model_from_before_there_were_pages_has_one_too(gateway: Gateway, publish: Callable[..., str]) -> None:
    job = publish(report=toy_report())
    assert gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report.html").text == report_page(toy_report())
    older = publish("ft:base:faq:older123", report={"model": "base", "losses": [2.0, 1.0]})
    assert gateway.http.get(f"/v1/fine_tuning/jobs/{older}/report.html").status_code == 200


def test_a_damaged_page_is_not_shown(gateway: Gateway, publish: Callable[..., str]) -> None:
    job = publish(report=toy_report(), page="<p>as it was written</p>")
    path = gateway.parts.artifacts.model_path(TUNED.replace(":", "-")) / "report.html"
    path.write_text("<p>as it was forged!</p>")
    problem(gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report.html"), 503, "artifact_corrupt")


@pytest.mark.parametrize("content", ["{", '{"losses": [2.0, 1.1]}', None])
def test_a_damaged_report_is_said_to_be_damaged(
    gateway: Gateway, publish: Callable[..., str], content: str | None
) -> None:
    job = publish(report={"losses": [2.0, 1.0]})
    path = gateway.parts.artifacts.model_path(TUNED.replace(":", "-")) / "report.json"
    path.unlink() if content is None else path.write_text(content)
    problem(gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report"), 503, "artifact_corrupt")


@pytest.mark.parametrize("id", ["nobody", "a/b/c", "ft:x", "a%00", "..%2f..%2fetc", "x" * 3_000, "ft:base:faq:%00"])
def test_an_unknown_model_is_not_found(gateway: Gateway, id: str) -> None:
    problem(gateway.http.get(f"/v1/models/{id}"), 404, "model_not_found")


def test_a_deleted_model_is_gone_with_its_folder_and_is_not_deleted_twice(
    gateway: Gateway, publish: Callable[..., str]
) -> None:
    job = publish()
    kept = publish("ft:base:faq:other123")
    answer = gateway.http.delete(f"/v1/models/{TUNED}")
    assert answer.json() == {"id": TUNED, "object": "model", "deleted": True}
    assert {path.split("/")[1] for path in gateway.artifacts()} == {"ft-base-faq-other123"}
    for method in ("GET", "DELETE"):
        problem(gateway.http.request(method, f"/v1/models/{TUNED}"), 404, "model_not_found")
    problem(gateway.http.post("/v1/embeddings", json={"model": TUNED, "input": "a"}), 404, "model_not_found")
    problem(gateway.http.get(f"/v1/fine_tuning/jobs/{job}/report"), 404, "not_found")
    assert gateway.http.get(f"/v1/fine_tuning/jobs/{kept}/report").is_success


@pytest.mark.parametrize("user", ["a collection", "a training", "an evaluation", "an export", "a paused job"])
def test_a_model_that_is_needed_cannot_be_deleted(gateway: Gateway, publish: Callable[..., str], user: str) -> None:
    publish()
    path, body = {
        "a collection": ("/v1/collections", {"name": "faq", "model": TUNED}),
        "an evaluation": ("/v1/evaluations", {"file": judged(gateway), "models": [BASE, TUNED]}),
        "an export": ("/v1/model_exports", {"model": TUNED}),
    }.get(user, ("/v1/fine_tuning/jobs", {"model": TUNED, "training_file": gateway.pairs()}))
    folder = gateway.parts.artifacts.model_path(TUNED.replace(":", "-"))
    (folder / "model.safetensors").write_bytes(b"weights")
    assert gateway.http.post(path, json=body).is_success
    jobs = [job["id"] for job in gateway.http.get("/v1/jobs").json()["data"] if job["status"] == "queued"]
    if user == "a paused job":
        gateway.http.post(f"/v1/jobs/{jobs[0]}/pause")
    refused = gateway.http.delete(f"/v1/models/{TUNED}")
    assert (jobs or ["faq"])[0] in problem(refused, 409, "in_use")["detail"] and folder.is_dir()
    assert refused.headers["x-should-retry"] == "false"
    for job in jobs:
        gateway.http.post(f"/v1/jobs/{job}/cancel")
    assert gateway.http.delete(f"/v1/models/{TUNED}").status_code == (409 if user == "a collection" else 200)


def test_what_is_ordered_while_its_model_goes_is_refused(gateway: Gateway, publish: Callable[..., str]) -> None:
    publish()
    job = JobRecord(
        id=new_id("job"),
        project=DEFAULT_PROJECT,
        kind=JobKind.EXPORT,
        status=JobStatus.QUEUED,
        phase=Phase.WAITING,
        created_at=1.0,
        spec={"model": TUNED},
    )
    gateway.http.delete(f"/v1/models/{TUNED}")
    with pytest.raises(NotFound, match=TUNED), gateway.parts.database.write() as tx:
        jobs.insert(tx, job)


def test_a_base_model_belongs_to_the_server(gateway: Gateway) -> None:
    problem(gateway.http.delete(f"/v1/models/{BASE}"), 409, "conflict")
    assert gateway.http.get(f"/v1/models/{BASE}").is_success


@pytest.mark.parametrize("id", ["nobody", "a/b/c", "ft:x", "a%00", "..%2f..%2fetc", "x" * 3_000, "ft:base:faq:%00"])
def test_a_model_that_is_not_there_cannot_be_deleted(gateway: Gateway, id: str) -> None:
    problem(gateway.http.delete(f"/v1/models/{id}"), 404, "model_not_found")
