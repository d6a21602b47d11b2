"""What changed on disk is reported and never served, with a remedy; everything else goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from infonce.hub import Hub, HubMode
from infonce.index_files import MANIFEST_FILE
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store.settings import StoreSettings
from tests.factories import tiny_encoder, tiny_model
from tests.faults.homes import Home
from tests.service.workshop import work_off

BASE = "acme/tiny"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.new(tmp_path / "home")
    yield home
    home.close()


@pytest.fixture
def http(home: Home, tmp_path: Path) -> Iterator[TestClient]:
    """A gateway over the home that loads real encoders, and has a base model beside the tuned ones."""
    tiny_model(tmp_path / "base" / BASE)
    store = StoreSettings(database_url=home.url, artifacts=home.artifacts.root)
    settings = GatewaySettings(store=store, hub=Hub(models_root=tmp_path / "base", mode=HubMode.OFF))
    with TestClient(create_app(settings, Seams(ring=lambda job_id, queue: None, ping=lambda: True))) as http:
        yield http


def flip(path: Path, place: int = -1) -> None:
    """One bit of the file is another one."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def embed(http: TestClient, model: str) -> Any:
    return http.post("/v1/embeddings", json={"model": model, "input": "red cat"})


def ask(http: TestClient, name: str) -> Any:
    return http.post(f"/v1/collections/{name}/query", json={"vector": [1.0, 0.0, 0.0, 0.0]})


def refused(answer: Any, remedy: str) -> bool:
    error = answer.json()["error"]
    return (answer.status_code, error["code"]) == (503, "artifact_corrupt") and remedy in error["message"]


def test_a_damaged_model_is_refused_wherever_it_is_asked_for_and_others_serve(
    http: TestClient, home: Home, tmp_path: Path
) -> None:
    encoder = tiny_encoder(tmp_path / "tiny")
    broken, garbled, sound = home.model(encoder.save), home.model(encoder.save), home.model(encoder.save)
    flip(home.artifacts.model_path(broken.folder) / "model.safetensors")
    flip(home.artifacts.model_path(garbled.folder) / "config.json", 0)
    for name in (broken.id, garbled.id, broken.id):
        assert refused(embed(http, name), "restore the model from a backup, or train it again")
    assert embed(http, sound.id).status_code == embed(http, BASE).status_code == 200
    file = home.upload()
    order = {"model": garbled.id, "training_file": file.id}
    assert refused(http.post("/v1/fine_tuning/jobs", json=order), "train it again")
    assert {model["id"] for model in http.get("/v1/models").json()["data"]} > {broken.id, garbled.id}


@pytest.mark.parametrize("name", ["index.faiss", "ids", MANIFEST_FILE, "checksums.json"])
def test_a_damaged_index_is_refused_whichever_file_it_is(http: TestClient, home: Home, name: str) -> None:
    broken, sound = home.collection("broken"), home.collection("sound")
    version = home.index(broken, ["a", "b"])
    home.index(sound, ["c"])
    flip(home.artifacts.collection_version_path(broken.id, version.folder) / name, 3)
    for _ in range(2):
        assert refused(ask(http, "broken"), "orders a new index")
    assert [hit["id"] for hit in ask(http, "sound").json()["hits"]] == ["c"]
    work_off(http.app.state.wiring, "light")  # which a query has ordered, as the message says
    assert [job["status"] for job in http.get("/v1/jobs").json()["data"] if job["status"] != "succeeded"] == []
    assert len(ask(http, "broken").json()["hits"]) == 2
