"""While the database is away every route says so, and says when to come again."""

from dataclasses import replace

from service.known_callers import KnownCallers
from service.store.database import Database
from tests.service.conftest import Gateway, problem


def test_without_a_database_every_route_says_when_to_come_again(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    home = gateway.parts.artifacts.root.parent
    lost = Database.open(gateway.parts.settings.store.database_url)
    lost.close()
    (home / "store.db").rename(home / "gone.db")
    parts = gateway.parts
    callers = KnownCallers(lost, parts.settings, clock=parts.clock)
    gateway.http.app.state.wiring = replace(parts, database=lost, callers=callers)  # type: ignore[attr-defined]
    walked = 0
    for path, methods in document["paths"].items():
        for method in methods:
            if path == "/healthz":
                continue
            answer = gateway.http.request(method, path.replace("{id}", "x").replace("{c}", "x"))
            problem(answer, 503, "store_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            walked += 1
    assert walked > 20 and gateway.http.get("/healthz").status_code == 200
    lost.close()
