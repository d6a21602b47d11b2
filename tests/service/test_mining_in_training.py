"""A training that looks for its own hard negatives, through the public door."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.settings import GatewaySettings
from service.store import jobs, tables
from tests.factories import sentences, tiny_model, toy_pairs
from tests.service.conftest import BASE, Gateway, lines
from tests.service.workshop import work_off

MINE = {"range": [0, 20], "relative_margin": None, "per_query": 2}


@pytest.fixture
def real(serve: Callable[..., Gateway], settings: GatewaySettings, tmp_path: Path) -> Gateway:
    """A gateway whose model has weights."""
    tiny_model(tmp_path / "models" / BASE)
    return serve(hub=type(settings.hub)(models_root=tmp_path / "models", mode=settings.hub.mode))


def uploaded(gateway: Gateway, rows: list[Any], *, purpose: str) -> str:
    return str(gateway.upload(lines(rows), purpose=purpose).json()["id"])


def order(gateway: Gateway, mine: dict[str, Any], **negatives: Any) -> dict[str, Any]:
    pairs = [{"query": pair.anchor, "positive": pair.positive} for pair in toy_pairs(30)]
    settings = {"n_epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "max_seq_length": 32}
    contrastive = {"hyperparameters": settings, "hard_negatives": {"mine": mine, **negatives}}
    file = uploaded(gateway, pairs, purpose="fine-tune")
    return {"model": BASE, "training_file": file, "method": {"type": "contrastive", "contrastive": contrastive}}


def test_negatives_are_looked_for_before_each_epoch_in_the_corpus(real: Gateway) -> None:
    corpus = uploaded(real, [{"text": text} for text in sentences(40, seed=3)], purpose="corpus")
    body = order(real, {**MINE, "corpus_file": corpus, "every_epochs": 1})
    job = real.http.post("/v1/fine_tuning/jobs", json=body).json()
    assert job["method"]["contrastive"]["hard_negatives"]["mine"]["every_epochs"] == 1
    assert real.http.delete(f"/v1/files/{corpus}").json()["error"]["code"] == "in_use"
    told = work_off(real.parts, "train")
    assert told.phases.count("mining") == 2 == told.events.count("mined")
    report = real.http.get(f"/v1/fine_tuning/jobs/{job['id']}/report").json()
    assert report["data"]["mining_file"]["id"] == corpus and report["config"]["mine"]["per_query"] == 2


@pytest.mark.parametrize(
    "mine, negatives, param, said",
    [
        ({"per_query": 0}, {}, "mine.per_query", "between 1 and 100"),
        ({"range": [50, 100]}, {}, "mine.range", "30 texts"),
        ({"every_epochs": 0}, {}, "mine.every_epochs", "mine.every_epochs is 0"),
        ({}, {"use": "none"}, "mine", "hard_negatives.use is 'none'"),
        ({"corpus_file": "file-" + "0" * 26}, {}, "hard_negatives.mine.corpus_file", "hard_negatives.mine.corpus_file"),
    ],
)
def test_mining_that_cannot_go_well_is_refused_at_its_place(
    mine: dict[str, Any], negatives: dict[str, Any], param: str, said: str, real: Gateway
) -> None:
    answer = real.http.post("/v1/fine_tuning/jobs", json=order(real, {**MINE, **mine}, **negatives))
    error = answer.json()["error"]
    assert answer.status_code in (404, 422) and said in error["message"] and error["param"].endswith(param), error


def test_what_mining_takes_is_not_foreseen_and_an_estimate_of_it_is_refused_at_its_place(real: Gateway) -> None:
    refused = real.http.post("/v1/fine_tuning/jobs/estimate", json=order(real, MINE))
    error = refused.json()["error"]
    assert refused.status_code == 422 and error["param"] == "method.contrastive.hard_negatives.mine"
    assert "leave it out of the estimate" in error["message"]


def test_a_training_that_was_ordered_before_these_settings_existed_is_done(real: Gateway) -> None:
    body = order(real, MINE)
    body["method"]["contrastive"]["hard_negatives"]["mine"] = None
    id = real.http.post("/v1/fine_tuning/jobs", json=body).json()["id"]
    with real.parts.database.write() as tx:
        spec = dict(jobs.get(tx, "default", id=id).spec)
        for name in ("mining_file", "retention_file", "hyperparameters", "deploy"):
            del spec[name]
        for name in ("mine", "mine_every_epochs"):
            del spec["config"][name]
        contrastive = spec["method"]["contrastive"]
        contrastive |= {"deploy": None, "hard_negatives": {"use": "all", "max_per_query": 7, "mine": None}}
        for held in (spec["evaluation"], contrastive["evaluation"]):
            del held["retention"], held["interpolation"]
        tx.execute(sa.update(tables.jobs).where(tables.jobs.c.id == id).values(spec=spec))
    assert real.http.get(f"/v1/fine_tuning/jobs/{id}").json()["deployment"] is None
    work_off(real.parts, "train")
    for part in ("", "/report", "/report.html"):
        assert real.http.get(f"/v1/fine_tuning/jobs/{id}{part}").status_code == 200, part
