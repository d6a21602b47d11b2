"""A training that is to be deployed: refused at the door, or published with the index job that moves its collection."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.store import catalog, documents, jobs, keys
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.documents import NewDocument
from service.store.records import Scope
from tests.service.conftest import BASE, DIMENSIONS, Gateway, lines, problem
from tests.service.workshop import Bench, index_by_words, work_off_index, workshop
from worker.orders import write_order

BETTER = {"metric": "ndcg@10", "evaluations": [], "verdict": "better", "retention": {"held": True}}
WORSE = BETTER | {"verdict": "worse"}


def corpus(gateway: Gateway, count: int = 3) -> str:
    rows = [{"id": f"d{place}", "text": f"text {place}", "metadata": {"place": place}} for place in range(count)]
    answer = gateway.upload(lines(rows), purpose="corpus", name="corpus.jsonl")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def order(gateway: Gateway, **deploy: Any) -> Any:
    method = {"contrastive": {"deploy": {"collection": "faq", **deploy}}}
    return gateway.order(training_file=gateway.pairs(), method=method)


def collection(gateway: Gateway, **body: Any) -> None:
    answer = gateway.http.post("/v1/collections", json={"name": "faq", **body})
    assert answer.status_code == 201, answer.text


def train(gateway: Gateway, summary: dict[str, Any] = BETTER, *, name: str = "model") -> dict[str, Any]:
    """The training that waits is over, with a model that is as the summary says."""
    bench = Bench.claim(gateway.parts, "train")
    (bench.order.staging / "config.json").write_text(json.dumps({"hidden_size": DIMENSIONS, "name": name}))
    sizes = {"dimensions": DIMENSIONS, "max_tokens": 64, "trained_tokens": 7}
    assert bench.commit(bench.published({"fingerprint": name, "summary": summary, **sizes}))
    answer: dict[str, Any] = gateway.http.get(f"/v1/fine_tuning/jobs/{bench.job.id}").json()
    return answer


def begin_index(gateway: Gateway) -> Bench:
    return Bench.claim(gateway.parts, "light")


def end_index(bench: Bench) -> None:
    (bench.order.staging / "index.faiss").write_bytes(b"index")
    given = json.loads(bench.order.path.read_text())
    count = len(Path(given["documents"]).read_text().splitlines())
    result = {"count": count, "dimension": DIMENSIONS, "fingerprint": given["model"]["name"]}
    result["index"] = {"type": "flat", "prefix": None}
    assert bench.commit(bench.published(result))


def serving(gateway: Gateway) -> tuple[CollectionRecord, VersionRecord]:
    """The collection and its active version, which are of one model."""
    with gateway.parts.database.read() as tx:
        found = catalog.get_collection(tx, "default", name="faq")
        version = catalog.get_version(tx, str(found.active_version))
    assert found.model == version.model
    return found, version


def store(gateway: Gateway, id: str, text: str) -> None:
    answer = gateway.http.post("/v1/collections/faq/documents", json={"documents": [{"id": id, "text": text}]})
    assert answer.status_code in (200, 202), answer.text


def test_a_better_model_makes_and_fills_its_collection(gateway: Gateway) -> None:
    waiting = order(gateway, corpus_file=corpus(gateway)).json()["deployment"]
    assert waiting == {"collection": "faq", "policy": "if_better", "decision": None, "reason": None} | {
        "job": None, "status": None,
    }  # fmt: skip
    job = train(gateway)
    assert (job["deployment"]["decision"], job["deployment"]["status"]) == ("deployed", "queued")
    end_index(begin_index(gateway))
    found, version = serving(gateway)
    assert (found.model, version.count) == (job["fine_tuned_model"], 3)
    again = gateway.http.get(f"/v1/fine_tuning/jobs/{job['id']}").json()["deployment"]
    assert (again["status"], again["job"]) == ("succeeded", version.job_id)
    assert gateway.http.get("/v1/fine_tuning/jobs").json()["data"][0]["deployment"] == again


def order_index(gateway: Gateway) -> None:
    """An ordinary index job waits, as after many documents."""
    with gateway.parts.database.write() as tx:
        jobs.order_index(tx, catalog.get_collection(tx, "default", name="faq"), now=gateway.parts.clock())


def test_a_model_that_is_not_better_is_published_and_held_back(gateway: Gateway) -> None:
    order(gateway, corpus_file=corpus(gateway))
    job = train(gateway, WORSE)
    assert job["fine_tuned_model"] and job["deployment"]["decision"] == "held_back"
    assert "the verdict is worse" in job["deployment"]["reason"] and job["deployment"]["job"] is None
    assert gateway.http.get("/v1/collections").json()["data"] == []
    events = gateway.http.get(f"/v1/fine_tuning/jobs/{job['id']}/events").json()["data"]
    assert any(event["data"]["type"] == "held_back" and event["level"] == "warn" for event in events)


def test_a_collection_keeps_its_own_documents_where_no_file_is_given(gateway: Gateway) -> None:
    collection(gateway, model=BASE)
    store(gateway, "own", "a text of its own")
    order_index(gateway)
    end_index(begin_index(gateway))
    order(gateway)
    model = train(gateway)["fine_tuned_model"]
    assert serving(gateway)[0].model == BASE
    end_index(begin_index(gateway))
    found, version = serving(gateway)
    assert (found.model, version.count) == (model, 1)


def test_filling_twice_overwrites_nothing_that_came_after_the_order(gateway: Gateway) -> None:
    order(gateway, corpus_file=corpus(gateway))
    train(gateway)
    bench = begin_index(gateway)
    with gateway.parts.database.read() as tx:
        found = catalog.get_collection(tx, "default", name="faq")
    store(gateway, "d1", "changed meanwhile")
    write_order(bench.shop, bench.job)
    with gateway.parts.database.read() as tx:
        texts = {id: one.text for id, one in documents.by_ids(tx, found.id, ids=["d0", "d1", "d2"]).items()}
    assert texts == {"d0": "text 0", "d1": "changed meanwhile", "d2": "text 2"}


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_files_the_one_that_was_named_last_counts_whichever_is_stored_first(
    gateway: Gateway, first: int
) -> None:
    collection(gateway, model=BASE)
    for name in ("older", "newer"):
        rows = [{"id": "both", "text": f"of the {name} file"}, {"id": name, "text": "of one"}]
        order(gateway, corpus_file=gateway.upload(lines(rows), purpose="corpus").json()["id"])
        train(gateway, name=name)
    with gateway.parts.database.write() as tx:
        waiting = [jobs.claim(tx, "light", owner=name, now=time.time()) for name in ("older", "newer")]
    for job in (waiting[first], waiting[1 - first]):
        assert job is not None
        write_order(workshop(gateway.parts), job)
    with gateway.parts.database.read() as tx:
        stored = documents.by_ids(tx, waiting[0].spec["collection"], ids=["both", "older", "newer"])
    assert {id: one.text for id, one in stored.items()} == {
        "both": "of the newer file", "older": "of one", "newer": "of one",
    }  # fmt: skip


def deployed(gateway: Gateway, *, late: list[dict[str, Any]]) -> str:
    """The tuned model, whose deployment has ended after documents were written while it made its index."""
    collection(gateway, model=BASE)
    for id, text in (("one", "a text of its own"), ("two", "wolves howl")):
        store(gateway, id, text)
    order_index(gateway)
    work_off_index(gateway.parts)
    order(gateway)
    model = str(train(gateway)["fine_tuned_model"])
    bench = begin_index(gateway)
    assert gateway.http.post("/v1/collections/faq/documents", json={"documents": late}).is_success
    gateway.http.delete("/v1/collections/faq/documents", params={"id": "two"})
    assert bench.commit(index_by_words(bench))
    return model


def found(gateway: Gateway, text: str) -> tuple[str, list[str], int]:
    """The model that answers, what it finds, best first, and what is pending."""
    body = gateway.http.post("/v1/collections/faq/query", json={"query": text, "k": 1_000}).json()
    return body["model"], [hit["id"] for hit in body["hits"]], body["pending"]


def waiting(gateway: Gateway) -> list[str]:
    return [job["id"] for job in gateway.http.get("/v1/jobs").json()["data"] if job["status"] == "queued"]


def deployment(gateway: Gateway) -> Any:
    [job] = gateway.http.get("/v1/fine_tuning/jobs").json()["data"]
    return job["deployment"]["status"]


def test_documents_written_while_a_deployment_runs_are_found_before_and_after_the_move(
    serve: Callable[..., Gateway], until: Callable[[Callable[[], bool]], None]
) -> None:
    gateway, other = serve(), serve()
    model = deployed(gateway, late=[{"id": "late", "text": "came while it ran"}])

    def moved() -> bool:
        answers = [found(one, "came while it ran") for one in (gateway, other)]
        assert all((ids, pending) == (["late", "one"], 0) for _, ids, pending in answers)
        return all(by == model for by, *_ in answers)

    until(moved)
    assert deployment(gateway) == "succeeded" and serving(gateway)[0].previous_version is not None
    assert found(gateway, "a text of its own") == (model, ["one", "late"], 0)


def test_a_deployment_that_lacks_many_documents_moves_once_a_job_has_taken_them_in(
    gateway: Gateway, until: Callable[[Callable[[], bool]], None]
) -> None:
    model = deployed(gateway, late=[{"id": f"late{n}", "text": f"came while it ran {n}"} for n in range(257)])
    until(lambda: len(waiting(gateway)) == 2)  # for the version that answers, and for the one that is to
    assert deployment(gateway) == "running" and serving(gateway)[0].model == BASE
    store(gateway, "later", "wolves and bears")
    assert found(gateway, "wolves and bears") == (BASE, ["later", "one"], 257)
    for _ in range(2):
        work_off_index(gateway.parts)
    _, ids, pending = found(gateway, "wolves and bears")
    assert (ids[0], len(ids), pending) == ("later", 259, 0)
    until(lambda: deployment(gateway) == "succeeded")
    by, ids, pending = found(gateway, "wolves and bears")
    assert (by, ids[0], len(ids), pending) == (model, "later", 259, 0)


def test_who_moves_a_collection_by_hand_ends_the_wish_of_a_deployment(
    gateway: Gateway, until: Callable[[Callable[[], bool]], None]
) -> None:
    deployed(gateway, late=[{"id": f"late{n}", "text": f"came while it ran {n}"} for n in range(257)])
    before = serving(gateway)[0]
    assert deployment(gateway) == "running" and before.wanted_version is not None
    stays = gateway.http.post("/v1/collections/faq/promote", json={"version": before.active_version})
    assert stays.status_code == 409  # it lacks them as well
    work_off_index(gateway.parts)
    stays = gateway.http.post("/v1/collections/faq/promote", json={"version": before.active_version})
    assert (stays.status_code, serving(gateway)[0].wanted_version) == (200, None)
    assert gateway.http.delete(f"/v1/collections/faq/versions/{before.wanted_version}").is_success
    assert serving(gateway)[0].model == BASE


def test_an_index_of_the_model_before_never_takes_the_place_of_a_deployment(gateway: Gateway) -> None:
    collection(gateway, model=BASE)
    store(gateway, "one", "a text")
    order_index(gateway)
    order(gateway)
    model = train(gateway)["fine_tuned_model"]
    ordinary, deployment = begin_index(gateway), begin_index(gateway)
    end_index(deployment)
    end_index(ordinary)
    assert serving(gateway)[0].model == model


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_deployments_the_one_that_was_ordered_later_stays(gateway: Gateway, first: int) -> None:
    collection(gateway, model=BASE)
    models = []
    for name in ("older", "newer"):
        order(gateway)
        models.append(train(gateway, name=name)["fine_tuned_model"])
    running = [begin_index(gateway), begin_index(gateway)]
    end_index(running[first])
    end_index(running[1 - first])
    assert serving(gateway)[0].model == models[1]


def test_a_waiting_deployment_is_no_twin_of_an_ordinary_index_job(gateway: Gateway) -> None:
    collection(gateway, model=BASE)
    order(gateway)
    deployment = train(gateway)["deployment"]["job"]
    store(gateway, "one", "a text")
    order_index(gateway)
    with gateway.parts.database.read() as tx:
        waiting = [job["id"] for job in gateway.http.get("/v1/jobs").json()["data"] if job["kind"] == "index"]
        assert documents.count(tx, catalog.get_collection(tx, "default", name="faq").id) == 1
    assert len(waiting) == 2 and deployment in waiting


@pytest.mark.parametrize(
    ("made", "asked", "param", "said"),
    [
        ({"dimension": DIMENSIONS}, {}, "collection", "has no model"),
        (None, {}, "collection", "give a corpus_file"),
        (None, {"corpus_file": "file-0"}, "corpus_file", "corpus_file"),
        (None, {"collection": "FAQ"}, "collection", "must be 1 to 63"),
        (None, {"policy": "sometimes"}, "policy", "if_better"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_the_door(
    gateway: Gateway, made: dict[str, Any] | None, asked: dict[str, Any], param: str, said: str
) -> None:
    if made is not None:
        collection(gateway, **made)
    answer = order(gateway, **asked)
    assert answer.status_code in (404, 422), answer.text
    assert said in answer.json()["detail"] and answer.json()["error"]["param"].endswith(f"deploy.{param}")


def test_a_collection_of_other_dimensions_is_refused(gateway: Gateway) -> None:
    record = CollectionRecord(
        id="col-1", project="default", name="faq", created_at=0.0, model="other", dimension=4, metadata={}, watermark=0
    )
    with gateway.parts.database.write() as tx:
        catalog.insert_collection(tx, record)
        documents.upsert(tx, record, documents=[NewDocument(id="a", text="b")])
    assert "has 4 dimensions and the model 8" in problem(order(gateway), 422, "invalid_value")["detail"]


def test_if_better_needs_something_to_be_better_on(gateway: Gateway) -> None:
    method = {"contrastive": {"evaluation": {"held_out": 0}, "deploy": {"collection": "faq"}}}
    answer = gateway.order(training_file=gateway.pairs(), method=method)
    body = problem(answer, 422, "invalid_value")
    assert body["error"]["param"] == "method.contrastive.deploy.policy" and "always" in body["detail"]


def test_deploying_takes_a_key_that_may_change_collections(gateway: Gateway) -> None:
    training_file, corpus_file = gateway.pairs(), corpus(gateway)
    with gateway.parts.database.write() as tx:
        _, key = keys.create(tx, "default", name="trainer", scopes=[Scope.TRAIN], now=gateway.parts.clock())
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": BASE, "training_file": training_file}
    assert gateway.http.post("/v1/fine_tuning/jobs", json=body, headers=headers).status_code == 200
    body |= {"method": {"contrastive": {"deploy": {"collection": "faq", "corpus_file": corpus_file}}}}
    answer = gateway.http.post("/v1/fine_tuning/jobs", json=body, headers=headers)
    assert "scope index" in problem(answer, 403, "insufficient_scope")["detail"]


def test_a_probe_of_ones_own_is_an_eval_file_and_stays_until_the_job_has_ended(gateway: Gateway) -> None:
    wrong, training_file = corpus(gateway), gateway.pairs()
    answer = gateway.order(training_file=training_file, method={"contrastive": {"evaluation": {"retention": wrong}}})
    assert "purpose eval is needed" in problem(answer, 422, "invalid_value")["detail"]
    answer = gateway.order(training_file=training_file, method={"contrastive": {"evaluation": {"retention": "maybe"}}})
    assert answer.status_code == 422 and "retention" in answer.json()["detail"]
    job = gateway.order(training_file=training_file).json()
    settings = job["method"]["contrastive"]["evaluation"]
    assert (settings["retention"], settings["interpolation"]) == ("auto", "auto")
