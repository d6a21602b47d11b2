"""While an index job embeds, each block of its texts can be found a moment later, by every gateway."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from infonce.hub import Hub, HubMode
from service.app import Seams, create_app
from service.dependencies import Wiring
from service.settings import GatewaySettings
from service.store.database import migrate
from service.store.settings import StoreSettings
from tests.end_to_end.processes import until
from tests.factories import sentences, tiny_model
from tests.faults.held_child import let_go
from tests.faults.stack import ROOT
from worker.lifecycle import answer
from worker.settings import WorkerSettings
from worker.workshop import Workshop

MODEL = "acme/tiny"
TEXTS = [f"{place} {sentences(30)[place % 30]}" for place in range(600)]
BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Site:
    """Two gateways over one store, and a worker whose children wait before each block of texts."""

    gateways: list[TestClient]
    shop: Workshop
    pool: ThreadPoolExecutor

    def post(self, path: str, body: dict[str, Any], *, gateway: int = 0) -> Any:
        answered = self.gateways[gateway].post(f"/v1/collections{path}", json=body)
        assert answered.status_code < 300, answered.text
        return answered.json()

    def found(self, place: int, *, gateway: int) -> dict[str, Any]:
        """The answer to a query by that text."""
        answered: dict[str, Any] = self.post("/faq/query", {"query": TEXTS[place], "k": 1}, gateway=gateway)
        return answered

    def wait_until_found(self, place: int) -> None:
        """Both gateways have found the document of that text."""
        for gateway in range(2):
            told = partial(self.found, place, gateway=gateway)
            until(lambda told=told: [hit["id"] for hit in told()["hits"]] == [f"d{place}"], f"d{place}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tiny_model(tmp_path / "models" / MODEL)
    migrate(url := f"sqlite:///{tmp_path}/store.db")
    store = StoreSettings(database_url=url, artifacts=tmp_path / "artifacts")
    settings = GatewaySettings(store=store, hub=Hub(models_root=tmp_path / "models", mode=HubMode.OFF), threads=1)
    apps = [create_app(settings, Seams(ring=lambda _id, _queue: None, ping=lambda: True)) for _ in range(2)]
    parts: Wiring = apps[0].state.wiring
    worker = WorkerSettings(
        store=store, threads=1, environment={**os.environ, "PYTHONPATH": str(ROOT)}, drain_path=tmp_path / "drain"
    )
    command = (sys.executable, "-m", "tests.faults.held_child")
    shop = Workshop(
        settings=worker, database=parts.database, artifacts=parts.artifacts, hub=settings.hub, command=command
    )
    with TestClient(apps[0]) as one, TestClient(apps[1]) as other, ThreadPoolExecutor(max_workers=1) as pool:
        yield Site(gateways=[one, other], shop=shop, pool=pool)


def test_each_block_of_a_job_is_found_while_the_next_one_waits(site: Site) -> None:
    site.post("", {"name": "faq", "model": MODEL})
    rows = [{"id": f"d{place}", "text": text} for place, text in enumerate(TEXTS)]
    accepted = site.post("/faq/documents", {"documents": rows})
    assert (accepted["pending"], accepted["job"] is None) == (600, False)
    attempt = site.pool.submit(answer, lambda: site.shop, "light")
    run = site.shop.artifacts.run_path(accepted["job"], 1)
    until(run.is_dir, "the attempt", seconds=30)

    let_go(run, 0).touch()
    site.wait_until_found(BLOCK - 1)
    for gateway in range(2):
        told = site.found(0, gateway=gateway)
        assert (told["pending"], told["version"], [hit["id"] for hit in told["hits"]]) == (600 - BLOCK, None, ["d0"])
        assert site.found(BLOCK, gateway=gateway)["hits"][0]["id"] != f"d{BLOCK}"

    site.post("/faq/documents", {"documents": [{"id": "d300", "text": "written again meanwhile"}]})
    site.post("/faq/documents/delete", {"ids": ["d1", "d301"]})
    let_go(run, 1).touch()
    site.wait_until_found(2 * BLOCK - 1)
    again = site.post("/faq/query", {"query": "written again meanwhile", "k": 600, "include": ["text"]}, gateway=1)
    assert again["hits"][0] == {**again["hits"][0], "id": "d300", "text": "written again meanwhile"}
    assert len(again["hits"]) == 2 * BLOCK - 2 and not {"d1", "d301"} & {hit["id"] for hit in again["hits"]}

    let_go(run, 2).touch()
    attempt.result(60)
    for gateway in range(2):
        told = site.post("/faq/query", {"query": TEXTS[599], "k": 600}, gateway=gateway)
        assert (told["pending"], len(told["hits"]), told["hits"][0]["id"]) == (0, 598, "d599")
        assert told["version"] is not None
    assert not (run / "early").exists()
