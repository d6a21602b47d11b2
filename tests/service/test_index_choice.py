"""How an index is built can be asked for, is told, stays so when it is made anew, and moves with its version."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.store import catalog
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import BASE, DIMENSIONS, Gateway, problem
from tests.service.test_collections import PETS, build, make, put
from tests.service.test_versions import finish, promote, roll_back
from tests.service.workshop import work_off
from worker.snapshot import write_snapshot

AUTO = {"type": "auto", "prefix": "auto"}
COUNT = 1_200  # enough for an index of their own


def vectors(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    drawn = np.random.default_rng(seed).standard_normal((COUNT, 16)).astype(np.float32)
    drawn[:, 8:] *= 0.05
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def fill(gateway: Gateway, name: str) -> None:
    rows = [
        json.dumps({"id": f"d{number}", "vector": base64.b64encode(row.astype("<f4").tobytes()).decode()})
        for number, row in enumerate(vectors())
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = gateway.http.post(f"/v1/collections/{name}/documents", content="\n".join(rows), headers=headers)
    assert answer.status_code in (200, 202), answer.text


def versions(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.http.get(f"/v1/collections/{name}/versions").json()["data"]
    return found


def found_by(gateway: Gateway, name: str, **more: Any) -> list[str]:
    body = {"vector": vectors()[7].tolist(), "k": 5, **more}
    return [hit["id"] for hit in gateway.http.post(f"/v1/collections/{name}/query", json=body).json()["hits"]]


@pytest.mark.parametrize(
    ("asked", "built"),
    [
        ({}, {"type": "flat", "prefix": None}),
        ({"type": "hnsw"}, {"type": "hnsw", "prefix": None}),
        ({"type": "hnsw", "prefix": 8}, {"type": "hnsw", "prefix": 8}),
        ({"type": "ivf_sq8", "prefix": None}, {"type": "ivf_sq8", "prefix": None}),
        ({"type": "ivf_pq"}, {"type": "ivf_pq", "prefix": None}),
        ({"type": "auto", "prefix": 8}, {"type": "flat", "prefix": None}),
    ],
)
def test_a_collection_has_the_index_that_it_was_made_for(
    gateway: Gateway, asked: dict[str, Any], built: dict[str, Any]
) -> None:
    made = make(gateway, name="own", model=None, dimension=16, index=asked).json()
    assert made["index"] == AUTO | asked
    fill(gateway, "own")
    before = found_by(gateway, "own")
    work_off(gateway.parts, "light")
    [version] = versions(gateway, "own")
    assert (version["active"], version["index"], version["built"]) == (True, AUTO | asked, built)
    assert found_by(gateway, "own") == before == found_by(gateway, "own", exact=True)


def test_an_index_that_is_made_anew_is_built_as_the_one_before(gateway: Gateway) -> None:
    make(gateway, name="own", model=None, dimension=16, index={"type": "ivf_sq8"})
    fill(gateway, "own")
    work_off(gateway.parts, "light")
    [first] = versions(gateway, "own")
    fill(gateway, "own")
    work_off(gateway.parts, "light")
    [again] = versions(gateway, "own")
    assert (again["id"], again["built"]["type"]) == (first["id"], "ivf_sq8") and again["job"] != first["job"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"type": "annoy"}, "type"),
        ({"prefix": 0}, "whole number from 1"),
        ({"prefix": "long"}, "whole number from 1"),
        ({"prefix": True}, "whole number from 1"),
        ({"type": "flat", "prefix": 4}, "flat compares whole vectors"),
        ({"prefix": DIMENSIONS}, "must be shorter"),
        ({"links": 4}, "links"),
    ],
)
def test_what_no_index_can_be_is_refused(gateway: Gateway, asked: dict[str, Any], told: str) -> None:
    answer = make(gateway, index=asked)
    assert answer.status_code == 422 and told in answer.text, answer.text
    make(gateway)
    body = {"model": BASE, "index": asked}
    answer = gateway.http.post("/v1/collections/pets/versions", json=body)
    assert answer.status_code == 422 and told in answer.text, answer.text
    assert versions(gateway, "pets") == []


def test_dimensions_that_cannot_be_cut_are_refused_for_product_quantisation(gateway: Gateway) -> None:
    answer = make(gateway, name="prime", model=None, dimension=127, index={"type": "ivf_pq"})
    assert "choose ivf_sq8" in problem(answer, 422, "invalid_value")["detail"]


def test_the_choice_moves_with_its_version_and_goes_along_into_the_file(gateway: Gateway, tmp_path: Path) -> None:
    make(gateway)
    put(gateway, PETS)
    first = build(gateway)
    asked = {"type": "hnsw", "prefix": 4}
    answer = gateway.http.post("/v1/collections/pets/versions", json={"model": BASE, "index": asked})
    assert (answer.status_code, answer.json()["index"], answer.json()["built"]) == (202, asked, None)
    second = finish(gateway)
    moved = promote(gateway, second.id).json()
    assert (moved["active_version"], moved["index"]) == (second.id, asked)
    with gateway.parts.database.read() as tx:
        found = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
        told = write_snapshot(tx, found, version=None, folder=tmp_path / "parts", stop=lambda: False)
    assert told.facts["collection"]["index"] == asked
    back = roll_back(gateway).json()
    assert (back["active_version"], back["index"]) == (first.id, AUTO)
