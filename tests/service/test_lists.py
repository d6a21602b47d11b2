"""A list comes in windows, and costs the database as much as its first element, however long it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from service.store import workers
from service.store.database import now_of
from service.store.signals import WorkerRecord
from service.store.workers import SILENT_SECONDS
from tests.service.conftest import BASE, Gateway, problem
from tests.service.test_tenancy import judged


@contextmanager
def statements() -> Iterator[list[str]]:
    """Everything that requests ask the database inside; the sweep asks beside them."""
    said: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if "AnyIO" in threading.current_thread().name:  # where requests are answered
            said.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/fine_tuning/jobs", "/v1/evaluations"])
def test_many_are_listed_with_as_many_questions_as_one(gateway: Gateway, path: str) -> None:
    training, evaluation = {"training_file": gateway.pairs()}, {"file": judged(gateway), "models": [BASE]}
    asked: list[int] = []
    for _ in range(5):
        assert gateway.order(**training).is_success and gateway.http.post("/v1/evaluations", json=evaluation).is_success
        with statements() as said:
            shown = gateway.http.get(path).json()["data"]
        asked.append(len(said))
    assert len(shown) == (10 if path == "/v1/jobs" else 5) and len(set(asked)) == 1, asked


@pytest.mark.parametrize("path", ["/v1/collections", "/v1/projects"])
def test_collections_and_projects_are_counted_with_as_many_questions_as_one(gateway: Gateway, path: str) -> None:
    asked: list[int] = []
    for number in range(4):
        made = gateway.http.post("/v1/collections", json={"name": f"c{number}", "dimension": 2})
        rows = [{"id": str(place), "vector": [1, place]} for place in range(number)]
        if rows:
            gateway.http.post(f"/v1/collections/c{number}/documents", json={"documents": rows})
        assert made.is_success and gateway.http.post("/v1/projects", json={"id": f"p{number}"}).is_success
        with statements() as said:
            shown = gateway.http.get(path).json()["data"]
        asked.append(len(said))
    assert len(set(asked[1:])) == 1 and len(shown) >= 4, asked
    alone = [gateway.http.get(f"{path}/{one['id']}").json() for one in shown]
    assert shown == alone
    if path == "/v1/collections":
        assert [one["count"] for one in shown] == [3, 2, 1, 0]


def test_every_list_has_windows(gateway: Gateway) -> None:
    paths = gateway.http.get("/openapi.json").json()["paths"]
    lists = {
        path: {one["name"] for one in methods["get"].get("parameters", [])}
        for path, methods in paths.items()
        if "get" in methods and "/Listing_" in str(methods["get"]["responses"].get("200"))
    }
    assert len(lists) > 15 and all({"after", "limit"} <= names for names in lists.values()), lists


def walked(gateway: Gateway, path: str, **asked: str) -> list[str]:
    """The ids of a list, one window of one element after another."""
    found: list[str] = []
    more = True
    while more:
        after = {"after": found[-1]} if found else {}
        body = gateway.http.get(path, params={"limit": "1", **asked, **after}).json()
        found += [one["id"] for one in body["data"]]
        more = body["has_more"]
        assert len(body["data"]) == 1
    return found


def test_versions_are_walked_in_windows_either_way(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    path = "/v1/collections/pets/versions"
    made = [gateway.http.post(path, json={"model": BASE}).json()["id"] for _ in range(3)]
    assert walked(gateway, path) == made[::-1] and walked(gateway, path, order="asc") == made
    assert [one["id"] for one in gateway.http.get(path).json()["data"]] == made[::-1]
    refused(gateway, path)


def test_workers_are_walked_in_windows_either_way(gateway: Gateway) -> None:
    path, ids = "/v1/workers", ["host_1.example:17", "b:2", "c:3"]
    with gateway.parts.database.write() as tx:
        now = now_of(tx)
        for place, id in enumerate(ids):
            workers.see(tx, WorkerRecord(id=id, queues=(), version="1", created_at=now + place, seen_at=now))
        silent = WorkerRecord(id="d:4", queues=(), version="1", created_at=now, seen_at=now - 2 * SILENT_SECONDS)
        workers.see(tx, silent)
    assert walked(gateway, path) == ids and walked(gateway, path, order="desc") == ids[::-1]
    refused(gateway, path)


def refused(gateway: Gateway, path: str) -> None:
    for asked in ({"limit": "0"}, {"limit": "1001"}, {"order": "up"}):
        problem(gateway.http.get(path, params=asked), 422, "invalid_value")
    problem(gateway.http.get(path, params={"after": "nobody"}), 400, "bad_cursor")
