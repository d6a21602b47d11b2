"""Each class of work has its places, and those who wait are served in their order."""

import asyncio

import pytest

from service.admission import Places, Work, work_of
from service.errors import Unavailable
from tests.service.conftest import Gateway


@pytest.mark.parametrize(
    ("method", "path", "work"),
    [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/v1/files", Work.READ),
        ("GET", "/docs/swagger-ui-bundle.js", Work.READ),
        ("POST", "/v1/files", Work.UPLOAD),
        ("POST", "/v1/collections/pets/documents", Work.UPLOAD),
        ("POST", "/v1/collections/pets/query", Work.SEARCH),
        ("POST", "/v1/embeddings", Work.SEARCH),
        ("POST", "/v1/collections", Work.CHANGE),
        ("GET", "/v1/files/file-1/issues", Work.AUDIT),
        ("GET", "/v1/files/file-1/stats", Work.AUDIT),
        ("POST", "/v1/files/file-1/clean", Work.AUDIT),
        ("GET", "/v1/files/file-1", Work.READ),
        ("GET", "/v1/files/file-1/content", Work.DOWNLOAD),
        ("GET", "/v1/model_exports/export-1/content", Work.DOWNLOAD),
        ("GET", "/v1/collections/pets/exports/export-1/content", Work.DOWNLOAD),
        ("POST", "/v1/collections/import", Work.UPLOAD),
        ("POST", "/v1/uploads", Work.CHANGE),
        ("POST", "/v1/uploads/upload-1/parts", Work.UPLOAD),
        ("POST", "/v1/uploads/upload-1/complete", Work.UPLOAD),
        ("POST", "/v1/models", Work.UPLOAD),
        ("POST", "/v1/fine_tuning/jobs/x/cancel", Work.CHANGE),
        ("DELETE", "/v1/files/x", Work.CHANGE),
        ("POST", "/v1/webhook_endpoints/x/test", Work.HOOK),
        ("DELETE", "/v1/webhook_endpoints/x", Work.CHANGE),
        ("BREW", "/healthz/", Work.CHANGE),
    ],
)
def test_a_request_belongs_to_a_class(method: str, path: str, work: Work | None) -> None:
    assert work_of(method, path) is work


def test_only_health_is_let_in_without_a_place(gateway: Gateway) -> None:
    paths = gateway.http.get("/openapi.json").json()["paths"]
    free = [path for path, methods in paths.items() for name in methods if work_of(name.upper(), path) is None]
    assert sorted(free) == ["/healthz", "/readyz"]


def test_who_waits_is_served_in_order_and_who_is_one_too_many_refused() -> None:
    async def crowd() -> list[int]:
        places, served = Places(Work.CHANGE, 1, wait_seconds=9, num_waiting=2), []

        async def visit(number: int) -> None:
            await places.enter()
            served.append(number)
            places.leave()

        await places.enter()
        waiting = [asyncio.create_task(visit(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="1 changes are at work and as many wait as may"):
            await places.enter()
        places.leave()
        await asyncio.gather(*waiting)
        await visit(3)
        return served

    assert asyncio.run(crowd()) == [1, 2, 3]


def test_who_has_waited_for_too_long_is_refused_and_leaves_the_place_to_others() -> None:
    async def crowd() -> None:
        places = Places(Work.READ, 1, wait_seconds=0.01, num_waiting=1)
        await places.enter()
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"none has ended for 0\.01 s"):
                await places.enter()
        places.leave()
        await places.enter()

    asyncio.run(crowd())
