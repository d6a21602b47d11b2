"""Alive, ready, degraded."""

import threading
from collections.abc import Callable
from dataclasses import replace

from service.broker import FRESH_SECONDS, BrokerHealth
from service.store.artifacts import Artifacts
from service.store.database import Database
from tests.service.conftest import Gateway, problem


def test_a_live_gateway_says_so(gateway: Gateway) -> None:
    assert gateway.http.get("/healthz").json() == {"status": "ok"}


def test_with_everything_there_it_is_ready(gateway: Gateway) -> None:
    assert gateway.http.get("/readyz").json() == {"status": "ready", "degraded": []}


def test_without_a_broker_it_is_ready_and_degraded(gateway: Gateway) -> None:
    gateway.bell.up = False
    answer = gateway.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "degraded": ["broker"]})


def test_without_a_database_it_is_not_ready(gateway: Gateway) -> None:
    lost = Database.open(gateway.parts.settings.store.database_url)
    gateway.parts.artifacts.root.parent.joinpath("store.db").rename(gateway.parts.artifacts.root.parent / "gone.db")
    gateway.http.app.state.wiring = replace(gateway.parts, database=lost)  # type: ignore[attr-defined]
    lost.close()
    answer = gateway.http.get("/readyz")
    problem(answer, 503, "store_unavailable")
    assert answer.headers["retry-after"]


def test_without_an_artifact_folder_it_is_not_ready(gateway: Gateway) -> None:
    elsewhere = Artifacts(gateway.parts.artifacts.root / "nowhere")
    gateway.http.app.state.wiring = replace(gateway.parts, artifacts=elsewhere)  # type: ignore[attr-defined]
    problem(gateway.http.get("/readyz"), 503, "store_unavailable")


def test_the_broker_is_asked_in_the_background_and_not_more_often_than_needed(until: Callable[..., None]) -> None:
    now, answers = [0.0], [True, False]
    health = BrokerHealth(lambda: answers.pop(0), clock=lambda: now[0])
    assert health.up() and health.up() and len(answers) == 1
    now[0] += FRESH_SECONDS
    health.up()  # the old answer, while the new one is fetched
    until(lambda: not health.up())


def test_a_broker_that_never_answers_holds_nobody_up(until: Callable[..., None]) -> None:
    go = threading.Event()
    health = BrokerHealth(lambda: go.wait(20))
    assert not health.up()
    go.set()
    until(health.up)
