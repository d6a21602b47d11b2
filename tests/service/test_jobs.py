"""Orders of training: checked at the door, waiting with everything decided, and cancelled."""

from collections.abc import Callable
from typing import Any

import pytest

from infonce.hub import Hub, HubMode
from service.store import jobs
from service.store.records import DEFAULT_PROJECT, JobKind, JobRecord
from tests.service.conftest import BASE, Gateway, lines, problem

JOBS = "/v1/fine_tuning/jobs"
INNER = "method.contrastive.hyperparameters"


def contrastive(**settings: Any) -> dict[str, Any]:
    return {"type": "contrastive", "contrastive": settings}


def stored(gateway: Gateway, id: str) -> JobRecord:
    with gateway.parts.database.read() as tx:
        return jobs.get(tx, DEFAULT_PROJECT, id=id)


def test_an_order_waits_with_every_auto_that_the_pairs_decide(gateway: Gateway) -> None:
    job = gateway.order(training_file=gateway.pairs(40), suffix="faq", metadata={"team": "search"}).json()
    assert (job["object"], job["status"], job["phase"]) == ("fine_tuning.job", "queued", "waiting")
    assert job["hyperparameters"] == {"n_epochs": 3, "batch_size": 32, "learning_rate_multiplier": 1.0}
    settings = job["method"]["contrastive"]["hyperparameters"]
    assert (settings["learning_rate"], settings["dropout"], settings["precision"]) == (1e-4, 0.0, "auto")
    assert (job["seed"], job["metadata"], job["progress"]["queue_position"]) == (42, {"team": "search"}, 1)
    assert gateway.http.get(f"{JOBS}/{job['id']}").json() == job


def test_copies_do_not_count_where_the_pairs_decide(gateway: Gateway) -> None:
    rows = [{"query": f"which pet barks {n % 30}", "positive": "the dog"} for n in range(90)]
    method = contrastive(evaluation={"held_out": 0.0})
    job = gateway.order(training_file=gateway.upload(lines(rows)).json()["id"], method=method).json()
    assert job["hyperparameters"]["batch_size"] == 30


def test_the_spec_is_what_the_worker_needs(gateway: Gateway) -> None:
    file = gateway.pairs()
    prompts = {"query": "query: ", "document": "passage: "}
    method = contrastive(prompts=prompts, hyperparameters={"max_seq_length": 32}, evaluation={"held_out": 0.0})
    spec = stored(gateway, gateway.order(training_file=file, method=method).json()["id"]).spec
    assert (spec["model"], spec["training_file"], spec["evaluation_file"]) == (BASE, file, None)
    assert spec["encoder"] == {"pooling": "auto", "max_seq_length": 32, "prompts": prompts, "device": "auto"}
    assert spec["config"]["batch_size"] == 32 and spec["evaluation"] == {
        "held_out": 0.0,
        "ks": [1, 5, 10],
        "retention": "auto",
        "interpolation": "auto",
    }


def test_a_training_in_int8_is_refused_at_the_door(gateway: Gateway) -> None:
    answer = gateway.order(training_file=gateway.pairs(), method=contrastive(hyperparameters={"precision": "int8"}))
    assert problem(answer, 422, "invalid_value")["error"]["param"] == f"{INNER}.precision"


def test_the_bell_rings_after_the_answer_and_not_in_the_request(gateway: Gateway, until: Callable[..., None]) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    until(lambda: (id, "train") in gateway.bell.rung)


def test_what_the_worker_measured_takes_the_place_of_auto(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    with gateway.parts.database.write() as tx:
        claimed = jobs.claim(tx, "train", owner="me", now=gateway.parts.clock())
        assert claimed is not None
        update = {"resolved": {"precision": "bf16", "max_seq_length": 64}, "progress": {"step": 3, "percent": 50.0}}
        jobs.heartbeat(tx, id, attempt=claimed.attempt, now=gateway.parts.clock(), update=update)
    job = gateway.http.get(f"{JOBS}/{id}").json()
    settings = job["method"]["contrastive"]["hyperparameters"]
    assert (settings["precision"], settings["max_seq_length"], job["progress"]["step"]) == ("bf16", 64, 3)
    assert (job["status"], job["attempt"], job["progress"]["queue_position"]) == ("running", 1, None)


def test_openais_own_hyperparameters_count(gateway: Gateway) -> None:
    asked = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 2.0}
    job = gateway.order(training_file=gateway.pairs(), hyperparameters=asked).json()
    assert job["hyperparameters"] == asked
    assert job["method"]["contrastive"]["hyperparameters"]["learning_rate"] == pytest.approx(2e-4)


def test_a_multiplier_that_makes_too_large_a_rate_is_refused_by_its_own_name(gateway: Gateway) -> None:
    method = contrastive(hyperparameters={"lora": {}})
    answer = gateway.order(
        training_file=gateway.pairs(), method=method, hyperparameters={"learning_rate_multiplier": 1000}
    )
    body = problem(answer, 422, "invalid_value")
    assert body["error"]["param"] == "hyperparameters.learning_rate_multiplier"
    assert "makes the learning rate 1; it can be at most 0.1; lower it" in body["detail"]


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"learning_rate": 0}, f"{INNER}.learning_rate", "1e-08"),
        ({"n_epochs": 0}, f"{INNER}.n_epochs", "between 1 and 1000"),
        ({"batch_size": 1}, f"{INNER}.batch_size", "between 2 and"),
        ({"max_seq_length": 65}, f"{INNER}.max_seq_length", "64 positions"),
        ({"warmup_ratio": 2}, f"{INNER}.warmup_ratio", "between 0.0 and 1.0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_range(
    gateway: Gateway, asked: dict[str, Any], param: str, said: str
) -> None:
    answer = gateway.order(training_file=gateway.pairs(40), method=contrastive(hyperparameters=asked))
    body = problem(answer, 422, "invalid_value")
    assert body["error"]["param"] == param and said in body["detail"]
    assert body["errors"][0]["pointer"] == "/" + param.replace(".", "/")
    assert gateway.http.get(JOBS).json()["data"] == []


def test_h31_fewer_pairs_than_a_batch_is_to_have_are_too_few(gateway: Gateway) -> None:
    asked = contrastive(hyperparameters={"batch_size": 500})
    body = problem(gateway.order(training_file=gateway.pairs(40), method=asked), 422, "too_few_pairs")
    assert body["error"]["param"] == f"{INNER}.batch_size" and "is 500 and there are 36 pairs" in body["detail"]
    assert body["errors"][0]["pointer"] == "/" + f"{INNER}.batch_size".replace(".", "/")
    assert gateway.http.get(JOBS).json()["data"] == []


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"evaluation": {"corpus": "sample"}}, "corpus"),
    ],
)
def test_what_this_version_does_not_do_is_refused_by_name(gateway: Gateway, asked: dict[str, Any], named: str) -> None:
    answer = gateway.order(training_file=gateway.pairs(4), method=contrastive(**asked))
    assert f"{named}: only " in problem(answer, 422, "unsupported_value")["detail"]


def test_adapters_and_early_stopping_are_taken_down_and_echoed_with_their_defaults(gateway: Gateway) -> None:
    asked = {"lora": {"r": 8}, "early_stopping": {"metric": "mrr@5"}}
    job = gateway.order(training_file=gateway.pairs(40), method=contrastive(hyperparameters=asked)).json()
    expected = {"lora": {"r": 8, "alpha": 32, "dropout": 0.0}, "early_stopping": {"metric": "mrr@5", "patience": 3}}
    settings = job["method"]["contrastive"]["hyperparameters"]
    assert expected.items() <= settings.items() and settings["learning_rate"] == 1e-3
    assert expected.items() <= stored(gateway, job["id"]).spec["config"].items()


@pytest.mark.parametrize(
    ("asked", "held_out", "param", "said"),
    [
        ({"lora": {"r": 0}}, 0.1, "lora.r", "lora.r is 0; it must be between 1 and 1024; 8 to 64 is usual"),
        ({"early_stopping": {"metric": "ndgc@10"}}, 0.1, "early_stopping.metric", "such as ndcg@10"),
        ({"early_stopping": {}}, 0, "early_stopping", "held_out is 0 and no file is given to judge by"),
        ({"precision": "int8"}, 0.1, "precision", "float32"),
    ],
)
def test_adapters_and_early_stopping_that_cannot_be_are_refused_at_the_door(
    gateway: Gateway, asked: dict[str, Any], held_out: float, param: str, said: str
) -> None:
    method = contrastive(hyperparameters=asked, evaluation={"held_out": held_out})
    body = problem(gateway.order(training_file=gateway.pairs(40), method=method), 422, "invalid_value")
    assert body["error"]["param"] == f"method.contrastive.hyperparameters.{param}" and said in body["detail"]


def test_the_values_that_mean_off_are_accepted(gateway: Gateway) -> None:
    off = {"lora": None, "matryoshka_dims": None, "queue_size": 0, "momentum": None, "learn_temperature": False}
    method = contrastive(hyperparameters=off, hard_negatives={"mine": None}, deploy=None, priority=5)
    job = gateway.order(training_file=gateway.pairs(), method=method, integrations=None).json()
    assert stored(gateway, job["id"]).priority == 5


def test_a_value_given_twice_is_refused(gateway: Gateway) -> None:
    method = contrastive(hyperparameters={"n_epochs": 2})
    answer = gateway.order(training_file=gateway.pairs(), hyperparameters={"n_epochs": 2}, method=method)
    assert "keep one" in problem(answer, 422, "invalid_value")["detail"]


@pytest.mark.parametrize("model", ["../../etc/passwd", "/etc", "http://169.254.169.254/", "org/repo", "ft:x:y:z"])
def test_an_unknown_model_is_refused_with_the_known_ones(gateway: Gateway, model: str) -> None:
    answer = gateway.order(model=model, training_file=gateway.pairs(4))
    assert BASE in problem(answer, 422, "unknown_base_model")["detail"]


def test_a_model_that_the_worker_may_download_is_accepted(serve: Callable[..., Gateway]) -> None:
    gateway = serve(hub=Hub(mode=HubMode.ALLOW))
    answer = gateway.order(model="some-org/some-model", training_file=gateway.pairs())
    assert answer.json()["model"] == "some-org/some-model"


@pytest.mark.parametrize("file", ["file-" + "0" * 26, "../x", "' or 1=1"])
def test_an_unknown_file_is_not_found(gateway: Gateway, file: str) -> None:
    assert problem(gateway.order(training_file=file), 404, "not_found")["error"]["param"] == "training_file"


def test_a_file_of_another_purpose_is_refused(gateway: Gateway) -> None:
    pairs = gateway.pairs()
    answer = gateway.order(training_file=pairs, method=contrastive(evaluation={"file": pairs}))
    assert "purpose eval is needed" in problem(answer, 422, "invalid_value")["detail"]


def test_too_few_pairs_are_refused_with_the_number_needed(gateway: Gateway) -> None:
    body = problem(gateway.order(training_file=gateway.pairs(1)), 422, "too_few_pairs")
    assert body["error"]["param"] == "training_file" and "at least 2" in body["detail"]


def test_a_waiting_job_is_cancelled_at_once_and_stays_so(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    assert gateway.http.post(f"{JOBS}/{id}/cancel").json()["status"] == "cancelled"
    assert gateway.http.post(f"/v1/jobs/{id}/cancel").json()["status"] == "cancelled"


def test_a_running_job_shows_that_it_was_asked_to_pause_and_a_resumed_one_is_rung_at_once(
    gateway: Gateway, until: Callable[..., None]
) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    with gateway.parts.database.write() as tx:
        claimed = jobs.claim(tx, "train", owner="me", now=gateway.parts.clock())
        assert claimed is not None
    asked = gateway.http.post(f"{JOBS}/{id}/pause").json()
    assert (asked["status"], asked["pause_requested"]) == ("running", True)
    with gateway.parts.database.write() as tx:
        jobs.release(tx, id, attempt=claimed.attempt, now=gateway.parts.clock(), lost=False, reason="paused")
    gateway.bell.rung.clear()
    resumed = gateway.http.post(f"{JOBS}/{id}/resume").json()
    assert (resumed["status"], resumed["pause_requested"], resumed["progress"]["queue_position"]) == (
        "queued",
        False,
        1,
    )
    until(lambda: (id, "train") in gateway.bell.rung)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_only_a_training_job_that_exists_is_paused(gateway: Gateway, verb: str) -> None:
    problem(gateway.http.post(f"{JOBS}/ftjob-{'0' * 26}/{verb}"), 404, "not_found")
    problem(gateway.http.post(f"{JOBS}/job-{'0' * 26}/{verb}"), 404, "not_found")


def test_a_finished_job_cannot_be_cancelled(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    with gateway.parts.database.write() as tx:
        claimed = jobs.claim(tx, "train", owner="me", now=gateway.parts.clock())
        assert claimed is not None
        assert jobs.succeed(tx, id, attempt=claimed.attempt, now=gateway.parts.clock(), result={})
    answer = gateway.http.post(f"{JOBS}/{id}/cancel")
    problem(answer, 409, "job_terminal")
    assert answer.headers["x-should-retry"] == "false"


def test_events_tell_what_happened_newest_first_by_cursor(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    gateway.http.post(f"{JOBS}/{id}/cancel")
    page = gateway.http.get(f"{JOBS}/{id}/events?limit=1").json()
    assert (page["data"][0]["data"]["type"], page["has_more"]) == ("cancelled", True)
    rest = gateway.http.get(f"{JOBS}/{id}/events?after={page['last_id']}").json()["data"]
    assert [event["data"]["type"] for event in rest] == ["submitted"]
    assert rest[0]["object"] == "fine_tuning.job.event" and rest[0]["level"] == "info"


def test_jobs_are_listed_by_kind_and_metadata(gateway: Gateway) -> None:
    file = gateway.pairs()
    one = gateway.order(training_file=file, metadata={"team": "a"}).json()["id"]
    two = gateway.order(training_file=file, metadata={"team": "b"}).json()["id"]
    assert [job["id"] for job in gateway.http.get(JOBS).json()["data"]] == [two, one]
    assert [job["id"] for job in gateway.http.get(f"{JOBS}?metadata[team]=a").json()["data"]] == [one]
    every = gateway.http.get("/v1/jobs").json()["data"]
    assert [(job["id"], job["kind"]) for job in every] == [(two, JobKind.TRAIN), (one, JobKind.TRAIN)]


def test_a_job_of_any_kind_is_paused_and_resumed(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    many = [{"id": f"d{n}", "text": f"dog {n}"} for n in range(257)]  # so many that a job embeds them
    gateway.http.post("/v1/collections/pets/documents", json={"documents": many})
    [index] = gateway.http.get("/v1/jobs").json()["data"]
    tuning = gateway.order(training_file=gateway.pairs()).json()
    for job in (index, tuning):
        for act, status in (("pause", "paused"), ("pause", "paused"), ("resume", "queued"), ("resume", "queued")):
            answer = gateway.http.post(f"/v1/jobs/{job['id']}/{act}")
            assert (answer.status_code, answer.json()["status"]) == (200, status)
    gateway.http.post(f"/v1/jobs/{index['id']}/cancel")
    for act in ("pause", "resume"):
        problem(gateway.http.post(f"/v1/jobs/{index['id']}/{act}"), 409, "job_terminal")


def test_a_report_is_not_ready_before_the_job_has_succeeded(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    assert "queued" in problem(gateway.http.get(f"{JOBS}/{id}/report"), 409, "not_ready")["detail"]


def test_two_pairs_with_one_of_them_held_out_are_refused_at_the_door(gateway: Gateway) -> None:
    answer = gateway.order(training_file=gateway.pairs(2))
    problem(answer, 422, "too_few_pairs")
    assert "there are 1 training pairs" in answer.json()["detail"]


def test_a_share_held_out_beside_a_validation_file_is_refused_and_not_ignored(gateway: Gateway) -> None:
    files = {"training_file": gateway.pairs(), "validation_file": gateway.pairs()}
    answer = gateway.order(**files, method=contrastive(evaluation={"held_out": 0.2}))
    problem(answer, 422, "invalid_value")
    assert answer.json()["error"]["param"] == "method.contrastive.evaluation.held_out"
    assert gateway.order(**files).status_code == 200
