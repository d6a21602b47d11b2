"""A collection as points of a plane: of what can be found, by one version or by two."""

from typing import Any

import numpy as np
import pytest

from infonce.plane import Plane
from service.store import versions
from tests.service.conftest import Gateway, problem
from tests.service.test_collections import build, indexed, put

NUM = 40


def draw(gateway: Gateway, **asked: Any) -> Any:
    return gateway.http.get("/v1/collections/pets/projection", params=asked)


@pytest.fixture
def vectors(gateway: Gateway) -> dict[str, np.ndarray]:
    """A collection of directions in space, half of them in an index and the others beside it."""
    drawn = np.random.default_rng(3).normal(size=(NUM, 4))
    found = {f"d{place:02}": row / np.linalg.norm(row) for place, row in enumerate(drawn)}
    assert gateway.http.post("/v1/collections", json={"name": "pets", "dimension": 4}).is_success
    rows = [{"id": id, "vector": vector.tolist()} for id, vector in found.items()]
    put(gateway, rows[: NUM // 2])
    build(gateway, fingerprint=None)
    put(gateway, rows[NUM // 2 :])
    return found


def test_it_shows_what_can_be_found_in_its_plane(gateway: Gateway, vectors: dict[str, np.ndarray]) -> None:
    gateway.http.delete("/v1/collections/pets/documents", params={"id": ["d03", "d33"]})
    left = {id: vector for id, vector in vectors.items() if id not in ("d03", "d33")}
    shown = draw(gateway).json()
    plane = Plane.through(np.stack(list(left.values())).astype(np.float32))
    assert shown["count"] == len(left) and shown["against"] is None
    assert shown["explained"] == pytest.approx(list(plane.explained), abs=1e-5)
    assert [point["id"] for point in shown["points"]] == list(left)
    for point in shown["points"]:
        [place] = plane.points(left[point["id"]][None])
        assert (point["x"], point["y"]) == pytest.approx(tuple(place), abs=1e-5)
        assert (point["against_x"], point["against_y"]) == (None, None)


def test_a_sample_is_the_same_at_every_look(gateway: Gateway, vectors: dict[str, np.ndarray]) -> None:
    some = draw(gateway, limit=7).json()
    assert some == draw(gateway, limit=7).json() and some["count"] == NUM
    assert len({point["id"] for point in some["points"]}) == 7 and {p["id"] for p in some["points"]} <= vectors.keys()


def test_two_versions_are_drawn_in_one_plane(gateway: Gateway, vectors: dict[str, np.ndarray]) -> None:
    first = gateway.http.get("/v1/collections/pets").json()["active_version"]
    other = indexed(gateway, fingerprint=None)
    with gateway.parts.database.write() as tx:
        versions.insert(tx, other)
    shown = draw(gateway, version=first, against=other.id).json()
    assert (shown["version"], shown["against"]) == (first, other.id) and len(shown["points"]) == NUM
    for point in shown["points"]:  # the vectors are the client's own, and the same in both
        assert (point["x"], point["y"]) == pytest.approx((point["against_x"], point["against_y"]), abs=1e-6)


def test_an_empty_collection_has_no_points(gateway: Gateway) -> None:
    assert gateway.http.post("/v1/collections", json={"name": "pets", "dimension": 1}).is_success
    assert draw(gateway).json()["points"] == []
    put(gateway, [{"id": "a", "vector": [1]}])
    assert draw(gateway).json()["points"] == [] and draw(gateway).json()["count"] == 1


def test_what_cannot_be_drawn_is_refused(gateway: Gateway, vectors: dict[str, np.ndarray]) -> None:
    problem(draw(gateway, version="ver-" + "0" * 26), 404, "not_found")
    problem(draw(gateway, against="ver-" + "0" * 26), 404, "not_found")
    for asked in ({"version": "x"}, {"version": "ver-\x00"}, {"limit": 0}, {"limit": 10**9}):
        assert draw(gateway, **asked).status_code == 422
