"""Near duplicates of a collection: the pairs that a look at all pairs finds, each once, in whatever windows."""

from typing import Any

import numpy as np
import pytest

from service import duplicates
from tests.service.conftest import Gateway, problem
from tests.service.test_collections import build, make, put

NUM = 60
THRESHOLD = 0.9


@pytest.fixture
def vectors(gateway: Gateway) -> dict[str, np.ndarray]:
    """A collection of directions in the plane, half of them in an index and the others beside it."""
    angles = np.random.default_rng(5).uniform(0, 2 * np.pi, NUM)
    found = {f"d{number:02}": np.array([np.cos(angle), np.sin(angle)]) for number, angle in enumerate(angles)}
    assert gateway.http.post("/v1/collections", json={"name": "pets", "dimension": 2}).is_success
    rows = [{"id": id, "vector": vector.tolist()} for id, vector in found.items()]
    put(gateway, rows[: NUM // 2])
    build(gateway, fingerprint=None)
    put(gateway, rows[NUM // 2 :])
    return found


def asked(gateway: Gateway, **body: Any) -> Any:
    return gateway.http.post("/v1/collections/pets/duplicates", json=body)


def expected(vectors: dict[str, np.ndarray], threshold: float = THRESHOLD) -> dict[tuple[str, str], float]:
    near = {(one, other): float(vectors[one] @ vectors[other]) for one in vectors for other in vectors if one < other}
    return {pair: score for pair, score in near.items() if score >= threshold}


@pytest.mark.parametrize(("limit", "at_once"), [(1_000, 250), (1, 7), (50, 1)])
def test_every_pair_is_told_once_in_windows_of_any_size(
    gateway: Gateway, vectors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, limit: int, at_once: int
) -> None:
    monkeypatch.setattr(duplicates, "_AT_ONCE", at_once)
    found: list[dict[str, Any]] = []
    looked_at, after, more = 0, None, True
    while more:
        window = asked(gateway, threshold=THRESHOLD, limit=limit, after=after).json()
        found += window["data"]
        looked_at, after, more = looked_at + window["looked_at"], window["last_id"], window["has_more"]
    pairs = expected(vectors)
    assert looked_at == NUM and len(found) == len(pairs) > 100
    for one in found:
        assert one["score"] == pytest.approx(pairs[one["id"], one["other"]], abs=1e-6)


def test_what_was_deleted_or_moved_is_a_duplicate_no_more(gateway: Gateway, vectors: dict[str, np.ndarray]) -> None:
    gateway.http.delete("/v1/collections/pets/documents", params={"id": ["d00", "d40"]})
    put(gateway, [{"id": "d01", "vector": vectors["d02"].tolist()}])
    left = {id: vector for id, vector in vectors.items() if id not in ("d00", "d40")} | {"d01": vectors["d02"]}
    found = asked(gateway, threshold=THRESHOLD, limit=1_000).json()
    assert {(one["id"], one["other"]) for one in found["data"]} == expected(left).keys()
    assert ("d01", "d02") in expected(left)


def test_a_window_ends_however_few_pairs_there_are(
    gateway: Gateway, vectors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_AT_ONCE", 5)
    monkeypatch.setattr(duplicates, "MAX_LOOKED_AT", 20)
    window = asked(gateway, threshold=1.0).json()
    assert (window["looked_at"], window["has_more"], window["last_id"]) == (20, True, "d19")


def test_documents_that_cannot_be_found_yet_are_passed_over(gateway: Gateway) -> None:
    make(gateway)
    window = asked(gateway).json()
    assert (window["data"], window["looked_at"], window["has_more"], window["last_id"]) == ([], 0, False, None)
    put(gateway, [{"id": f"{number:03}", "text": "the same"} for number in range(300)])  # a job is to embed them
    window = asked(gateway).json()
    assert (window["data"], window["looked_at"], window["has_more"], window["last_id"]) == ([], 300, False, "299")


@pytest.mark.parametrize("body", [{"threshold": 0}, {"threshold": 1.1}, {"limit": 0}, {"limit": 10**9}, {"k": 3}])
def test_what_cannot_be_asked_is_refused(gateway: Gateway, vectors: dict[str, np.ndarray], body: Any) -> None:
    problem(asked(gateway, **body), 422, "invalid_value" if "k" not in body else "unknown_field")
