"""A list costs the database as much as its first element, however long it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.service.conftest import BASE, Gateway
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
