"""A list costs the database as much as its first element, however long it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.service.conftest import BASE, Gateway
from tests.service.test_tenancy import judged


@contextmanager
def statements() -> Iterator[list[str]]:
    """Everything that the database is asked inside."""
    said: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
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
