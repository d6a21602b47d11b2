"""`POST /v1/mining`, `/v1/evaluations` and the files that they need, through the public door."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infonce.errors import Stopped
from infonce.qrels import EvalSet, write_beir
from service.settings import GatewaySettings
from service.store import jobs
from tests.factories import sentences, tiny_model, toy_pairs
from tests.service.conftest import BASE, Gateway, lines, problem
from tests.service.workshop import Bench, work_off
from tests.worker.jobs.conftest import Recorder

OTHER = "tiny/other"
TEXTS = sentences(30)
CORPUS = [{"id": f"d{number}", "text": text, "title": None} for number, text in enumerate(TEXTS)]
WIDE = {"range": [0, 20], "relative_margin": None, "per_query": 2}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate((BASE, OTHER)):
        tiny_model(root / name, seed=seed)
    return root


@pytest.fixture
def real(serve: Callable[..., Gateway], settings: GatewaySettings, models: Path) -> Gateway:
    """A gateway whose two models have weights."""
    return serve(hub=type(settings.hub)(models_root=models, mode=settings.hub.mode))


def uploaded(gateway: Gateway, rows: list[Any], *, purpose: str = "fine-tune") -> str:
    answer = gateway.upload(lines(rows), purpose=purpose, name="faq.v1.jsonl")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def some_pairs(gateway: Gateway, count: int = 20) -> str:
    return uploaded(gateway, [{"query": pair.anchor, "positive": pair.positive} for pair in toy_pairs(count)])


def judgements(gateway: Gateway, folder: Path) -> str:
    """The id of a file in which each of 12 queries has one answer among 30 documents."""
    corpus = {f"d{number}": text for number, text in enumerate(TEXTS)}
    queries = {f"q {number}": " ".join(TEXTS[number].split()[:3]) for number in range(12)}
    judged = EvalSet(corpus=corpus, queries=queries, qrels={f"q {number}": {f"d{number}": 1} for number in range(12)})
    write_beir(judged, folder / "judged.zip")
    answer = gateway.upload((folder / "judged.zip").read_bytes(), purpose="eval", name="judged.zip")
    return str(answer.json()["id"])


def test_pairs_get_negatives_out_of_a_corpus_in_a_new_file_that_names_its_parent(real: Gateway) -> None:
    pairs, corpus = some_pairs(real), uploaded(real, CORPUS, purpose="corpus")
    asked = {"training_file": pairs, "model": BASE, "corpus_file": corpus, "metadata": {"team": "a"}, **WIDE}
    ordered = real.http.post("/v1/mining", json=asked)
    assert ordered.status_code == 202 and ordered.json()["metadata"] == {"team": "a"}
    assert problem(real.http.delete(f"/v1/files/{corpus}"), 409, "in_use")
    told = ["loading", "mining", "embedding", "mining", "embedding", "exporting"]
    assert work_off(real.parts).phases == told, "the positives' vectors come after the search"
    job = real.http.get(f"/v1/jobs/{ordered.json()['id']}").json()
    assert (job["status"], job["kind"], job["subject"]) == ("succeeded", "mine", pairs)
    [made] = job["result_files"]
    file = real.http.get(f"/v1/files/{made}").json()
    assert (file["parent"], file["job"], file["purpose"]) == (pairs, job["id"], "fine-tune")
    assert file["filename"] == "faq-mined.jsonl" and file["counts"]["negatives"] == 40
    rows = [json.loads(line) for line in real.parts.artifacts.file_path(made).read_text().splitlines()]
    assert {text for row in rows for text in row["negatives"]} <= set(TEXTS)
    assert [len(row["negative_scores"]) for row in rows] == [2] * 20
    assert rows[0]["mining"]["parent"]["name"] == pairs
    assert real.order(training_file=made).status_code == 200
    assert real.http.delete(f"/v1/files/{corpus}").status_code == 200


def test_a_fenced_attempt_leaves_no_file_and_the_next_one_makes_it_of_kept_vectors(real: Gateway) -> None:
    order = {"training_file": some_pairs(real), "model": BASE, **WIDE}
    id = real.http.post("/v1/mining", json=order).json()["id"]
    first, before = Bench.claim(real.parts), real.artifacts()
    late = first.published(first.work())
    with real.parts.database.write() as tx:
        jobs.release(tx, id, attempt=1, now=0.0, lost=True, reason="silent")
    assert not first.commit(late)
    files = [path for path in real.artifacts() if path.startswith("files/")]
    assert files == [path for path in before if path.startswith("files/")]
    recorder = work_off(real.parts)
    assert "embedding" not in recorder.phases and len(real.http.get(f"/v1/jobs/{id}").json()["result_files"]) == 1


@pytest.mark.parametrize("phase", ["mining", "embedding"])
def test_a_wish_to_stop_is_heard_and_the_next_attempt_makes_the_file(real: Gateway, phase: str) -> None:
    order = {"training_file": some_pairs(real), "model": BASE, **WIDE}
    id = real.http.post("/v1/mining", json=order).json()["id"]
    first = Bench.claim(real.parts)
    assert real.http.post(f"/v1/jobs/{id}/pause").json()["pause_requested"]
    with pytest.raises(Stopped):
        first.work(Recorder(stop_in=phase))
    with real.parts.database.write() as tx:
        jobs.release(tx, id, attempt=1, now=0.0, lost=False, reason="asked to")
    assert real.http.get(f"/v1/jobs/{id}").json()["status"] == "paused"
    assert real.http.post(f"/v1/jobs/{id}/resume").json()["status"] == "queued"
    work_off(real.parts)
    assert len(real.http.get(f"/v1/jobs/{id}").json()["result_files"]) == 1


def test_models_are_judged_side_by_side_and_every_query_is_shown(real: Gateway, tmp_path: Path) -> None:
    file = judgements(real, tmp_path)
    ordered = real.http.post("/v1/evaluations", json={"file": file, "models": [BASE, OTHER], "ks": [5]})
    assert ordered.status_code == 202
    place = f"/v1/evaluations/{ordered.json()['id']}"
    before = real.http.get(place).json()
    assert (before["status"], before["comparisons"], before["models"][1]["metrics"]) == ("queued", [], None)
    problem(real.http.get(f"{place}/queries"), 409, "not_ready")
    assert work_off(real.parts).events == ["evaluating", "evaluating"]
    found = real.http.get(place).json()
    assert (found["num_queries"], found["num_documents"], found["small_corpus"]) == (12, 30, True)
    assert found["status"] == "succeeded" and found["ks"] == [5, 10] and found["metric"] == "ndcg@10"
    assert set(found["models"][0]["metrics"]) >= {"ndcg@5", "ndcg@10", "mrr@10", "recall@5", "map@10"}
    [comparison] = found["comparisons"]
    assert comparison["wins"] + comparison["losses"] + comparison["ties"] == 12
    assert comparison["low"] <= comparison["delta"] <= comparison["high"]
    shown = real.http.get(f"{place}/queries").json()["data"]
    values = [[query[side] for query in shown] for side in ("base", "tuned")]
    means = [model["metrics"]["ndcg@10"] for model in found["models"]]
    assert [sum(column) / 12 for column in values] == pytest.approx(means)
    assert {query["query"] for query in shown} == {f"q {number}" for number in range(12)}
    assert all(query["relevant"][0]["text"] == TEXTS[int(query["query"][2:])] for query in shown)
    assert real.http.get("/v1/evaluations").json()["data"] == [found]


def test_queries_are_read_page_by_page_by_what_became_of_them(real: Gateway, tmp_path: Path) -> None:
    order = {"file": judgements(real, tmp_path), "models": [BASE, OTHER]}
    id = real.http.post("/v1/evaluations", json=order).json()["id"]
    work_off(real.parts)
    place, [comparison] = f"/v1/evaluations/{id}/queries", real.http.get(f"/v1/evaluations/{id}").json()["comparisons"]
    whole = real.http.get(place).json()["data"]
    for outcome, word in (("win", "wins"), ("loss", "losses"), ("tie", "ties")):
        of_kind = [query for query in whole if query["outcome"] == outcome]
        answer = real.http.get(place, params={"outcome": outcome}).json()
        assert answer["data"] == of_kind and len(of_kind) == comparison[word]
    paged, last = list[Any](), {"has_more": True}
    while last["has_more"]:
        after = {"after": paged[-1]["id"]} if paged else {}
        last = real.http.get(place, params={"limit": "5", **after}).json()
        paged += last["data"]
    assert paged == whole
    for wrong in ({"after": "win-0"}, {"after": "win-999"}, {"after": "x"}, {"outcome": "tie", "after": "win-1"}):
        problem(real.http.get(place, params=wrong), 400, "bad_cursor")
    assert problem(real.http.get(place, params={"model": BASE}), 422, "invalid_value")["error"]["param"] == "model"


def test_the_same_order_with_the_same_key_is_one_job(gateway: Gateway) -> None:
    asked, key = {"training_file": gateway.pairs(), "model": BASE}, {"idempotency-key": "k"}
    first, again = (gateway.http.post("/v1/mining", json=asked, headers=key) for _ in range(2))
    assert first.json()["id"] == again.json()["id"] and again.headers["idempotency-replayed"] == "true"
    problem(gateway.http.post("/v1/mining", json={**asked, "seed": 1}, headers=key), 409, "idempotency_mismatch")


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"range": [10, 10]}, "range", "holds 0 ranks"),
    ({"range": [-1, 10]}, "range", "between 0 and"),
    ({"range": [0, 20_000]}, "range", "10000"),
    ({"range": [5]}, "range", "at least 2"),
    ({"range": [50, 100]}, "range", "40 texts"),
    ({"per_query": 0}, "per_query", "between 1 and 100"),
    ({"per_query": 95}, "range", "per_query is 95"),
    ({"per_query": True}, "per_query", "integer"),
    ({"relative_margin": 1.5}, "relative_margin", "between 0.0 and 1.0"),
    ({"absolute_margin": -1.0}, "absolute_margin", "0.05 to 0.2"),
    ({"max_score": 2.0}, "max_score", "between -1.0 and 1.0"),
    ({"retriever": "magic"}, "retriever", "bm25"),
    ({"sampling": "best"}, "sampling", "random"),
    ({"seed": -1}, "seed", "between 0"),
    ({"model": "../../etc/passwd"}, None, "tiny/base"),
    ({"training_file": "EVAL"}, "training_file", "purpose fine-tune"),
    ({"corpus_file": "PAIRS"}, "corpus_file", "purpose corpus"),
    ({"corpus_file": "LONG", "range": [0, 10]}, "corpus_file", "40000 characters"),
    ({"corpus_file": "LONG2", "range": [10, 20]}, "range", "2 documents"),
    ({"corpus": "file"}, "corpus", "did you mean corpus_file"),
]


def test_an_order_of_mining_that_cannot_end_well_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    ids = {"PAIRS": gateway.pairs(), "EVAL": judgements(gateway, tmp_path)}
    for name, characters in (("LONG", 40_000), ("LONG2", 10)):
        ids[name] = uploaded(gateway, [{"text": "w" * characters}] * 2, purpose="corpus")
    for body, param, said in REFUSED:
        asked = {"training_file": "PAIRS", "model": BASE, **body}
        answer = gateway.http.post("/v1/mining", json={k: ids.get(str(v), v) for k, v in asked.items()})
        error = answer.json()["error"]
        assert answer.status_code == 422 and said in error["message"], (body, answer.text)
        assert param is None or error["param"].startswith(param)
    assert gateway.http.get("/v1/jobs").json()["data"] == []


def test_an_evaluation_that_cannot_end_well_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    usual = {"file": judgements(gateway, tmp_path), "models": [BASE]}
    models = [[], [BASE, BASE], [BASE] * 11, [BASE, "acme/none"], BASE]
    bodies: list[dict[str, Any]] = [{"models": wrong} for wrong in models]
    bodies += [{"ks": wrong} for wrong in ([], [0], [1_001], [1.5], [1] * 11)] + [{"file": gateway.pairs()}, {"k": 1}]
    for body in bodies:
        answer = gateway.http.post("/v1/evaluations", json={**usual, **body})
        error = answer.json()["error"]
        assert answer.status_code == 422, (body, answer.text)
        assert error["code"] == "unknown_base_model" or error["param"].startswith(next(iter(body)))
    assert gateway.http.get("/v1/evaluations").json()["data"] == []


def test_documents_are_counted_and_a_broken_line_keeps_nothing(gateway: Gateway) -> None:
    file = gateway.http.get(f"/v1/files/{uploaded(gateway, CORPUS, purpose='corpus')}").json()
    longest = max(map(len, TEXTS))
    counts = {"documents": 30, "longest_characters": longest, "empty_lines": 0, "ignored_fields": 0}
    assert (file["purpose"], file["counts"], file["parent"]) == ("corpus", counts, None)
    refused = problem(gateway.upload(b'{"text": "a"}\n{"text": " "}\n', purpose="corpus"), 422, "dataset_invalid")
    assert refused["errors"][0]["line"] == 2 and len(gateway.artifacts()) == 1


def test_an_estimate_is_ordered_as_the_training_itself(gateway: Gateway) -> None:
    body = {"model": BASE, "training_file": gateway.pairs(), "seed": 7}
    ordered = gateway.http.post("/v1/fine_tuning/jobs/estimate", json=body)
    assert ordered.status_code == 202 and list(ordered.json()) == ["job"]
    job = gateway.http.get(f"/v1/jobs/{ordered.json()['job']}").json()
    assert (job["kind"], job["status"]) == ("estimate", "queued")
    assert gateway.http.get("/v1/fine_tuning/jobs").json()["data"] == []
    wrong = gateway.http.post("/v1/fine_tuning/jobs/estimate", json=body | {"seed": -1})
    assert problem(wrong, 422, "invalid_value")["error"]["param"] == "seed"


def test_an_estimate_says_what_a_training_would_take_and_leaves_nothing(real: Gateway) -> None:
    body = {"model": BASE, "training_file": some_pairs(real), "hyperparameters": {"n_epochs": 2, "batch_size": 4}}
    id = real.http.post("/v1/fine_tuning/jobs/estimate", json=body).json()["job"]
    before = [path for path in real.artifacts() if not path.startswith("vectors/")]
    assert work_off(real.parts).phases == ["loading", "baseline", "training", "exporting"]
    result = real.http.get(f"/v1/jobs/{id}").json()["result"]
    assert result["num_pairs"] == 18 and result["num_steps"] == 2 * 5 and result["batch_size"] == 4
    assert result["total_seconds"] == pytest.approx(sum(result["seconds"].values()))
    assert result["peak_memory_bytes"] > 1e7 and result["measured"]
    runs = [path for path in real.artifacts() if path not in before and not path.startswith("vectors/")]
    assert [path.rsplit("/", 1)[-1] for path in runs] == ["order.json"]
