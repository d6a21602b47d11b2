"""Which files of indexes a gateway has open: those of the newest state of each collection, so many at most."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.store import versions
from service.store.collection_records import VersionRecord
from tests.service.conftest import Gateway
from tests.service.test_collections import PETS, ask, build, indexed, make, put

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")


def is_open(version: VersionRecord) -> bool:
    """Whether this process has a file of the version's folder mapped."""
    return str(version.folder) in Path("/proc/self/maps").read_text()


def filled(gateway: Gateway, name: str) -> VersionRecord:
    """A collection with an index that was asked."""
    make(gateway, name=name)
    put(gateway, PETS, name)
    version = build(gateway, name)
    assert ask(gateway, name, query="dog").status_code == 200
    return version


def test_an_index_is_closed_when_another_has_taken_its_place(gateway: Gateway) -> None:
    first = filled(gateway, "pets")
    assert is_open(first)
    put(gateway, [{"id": "d", "text": "fish swim"}])
    second = build(gateway)
    assert len(ask(gateway, query="dog").json()["hits"]) == 4
    assert is_open(second)
    third = build(gateway)
    assert len(ask(gateway, query="dog").json()["hits"]) == 4
    assert [is_open(one) for one in (first, second, third)] == [False, True, True]  # the second can be returned to
    assert gateway.http.post("/v1/collections/pets/rollback", json={}).status_code == 200
    assert ask(gateway, query="dog").json()["version"] == second.id


def test_a_version_closes_the_index_that_a_job_has_renewed(gateway: Gateway) -> None:
    version = filled(gateway, "pets")
    put(gateway, [{"id": "d", "text": "fish swim"}])
    renewed = indexed(gateway)
    with gateway.parts.database.write() as tx:
        assert versions.renew(tx, version.id, built=renewed)
        versions.forget_changes(tx, version.collection_id)
    body = ask(gateway, query="dog").json()
    assert (body["version"], len(body["hits"])) == (version.id, 4)
    assert (is_open(renewed), is_open(version)) == (True, False)


@pytest.mark.parametrize(("most", "open_then"), [(1, [False, True]), (2, [True, True])])
def test_no_more_indexes_stay_open_than_is_said(
    serve: Callable[..., Gateway], most: int, open_then: list[bool]
) -> None:
    gateway = serve(max_open_indexes=most)
    filled_ones = [filled(gateway, name) for name in ("one", "two")]
    assert [is_open(version) for version in filled_ones] == open_then
    assert ask(gateway, "one", query="dog").json()["version"] == filled_ones[0].id
