"""An index that changes on disk while it is open is found, slowly but surely, and answers no more."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infonce.index_files import IDS_FILE, INDEX_FILE
from infonce.live_index import COLUMNS_FILE
from infonce.live_words import WORDS_FOLDER
from service.index_checks import IndexChecks
from service.live_indexes import LiveIndexes
from service.store.checksums import CHECKSUMS
from service.store.collection_records import VersionRecord
from service.store.records import DEFAULT_PROJECT
from tests.service.conftest import Gateway, problem
from tests.service.test_collections import PETS, ask, build, make, put

FILES = [INDEX_FILE, IDS_FILE, COLUMNS_FILE, f"{WORDS_FOLDER}/data.csc.index.npy", "manifest.json", CHECKSUMS]


def folder_of(gateway: Gateway, version: VersionRecord) -> Path:
    return gateway.parts.artifacts.collection_version_path(version.collection_id, str(version.folder))


def flip(path: Path, place: int = -2) -> None:
    """One bit of the file is another one, without a new file: what maps it sees it."""
    with path.open("r+b") as file:
        file.seek(place, 2)
        [byte] = file.read(1)
        file.seek(place, 2)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def two(gateway: Gateway) -> tuple[Gateway, VersionRecord]:
    """Two collections that are open."""
    for name in ("sound", "pets"):
        make(gateway, name=name)
        put(gateway, PETS, name)
        version = build(gateway, name)
        assert len(ask(gateway, name, query="dog", hybrid={}).json()["hits"]) == 3
    return gateway, version


def check(gateway: Gateway) -> None:
    gateway.parts.checks.once(threading.Event())


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_flips_under_an_open_index_ends_its_answers_until_it_is_mended(
    two: tuple[Gateway, VersionRecord], name: str
) -> None:
    gateway, version = two
    damaged = folder_of(gateway, version) / name
    flip(damaged)
    check(gateway)
    for _ in range(2):
        assert f"/{name} " in problem(ask(gateway, query="dog"), 503, "artifact_corrupt")["detail"]
        check(gateway)
    assert "infonce_damaged_indexes_total 1.0" in gateway.http.get("/metrics").text
    assert len(ask(gateway, "sound", query="dog").json()["hits"]) == 3
    flip(damaged)
    assert len(ask(gateway, query="dog").json()["hits"]) == 3


def test_what_is_sound_stays_open_and_so_does_an_index_whose_folder_was_taken_away(
    two: tuple[Gateway, VersionRecord],
) -> None:
    gateway, version = two
    before = gateway.parts.search.indexes.current(DEFAULT_PROJECT, "pets")
    check(gateway)
    gateway.parts.artifacts.discard(folder_of(gateway, version))
    check(gateway)
    assert gateway.parts.search.indexes.current(DEFAULT_PROJECT, "pets") is before
    assert "infonce_damaged_indexes_total 0.0" in gateway.http.get("/metrics").text


def test_a_version_that_is_open_beside_the_one_that_answers_is_looked_at_too(
    two: tuple[Gateway, VersionRecord],
) -> None:
    gateway, version = two
    put(gateway, [{"id": "d", "text": "fish swim"}])
    newer = build(gateway)
    assert len(ask(gateway, query="dog").json()["hits"]) == 4
    assert set(gateway.parts.search.indexes.folders().values()) > {folder_of(gateway, one) for one in (version, newer)}
    flip(folder_of(gateway, version) / INDEX_FILE)
    check(gateway)
    both = {"queries": ["dog"], "a": version.id, "b": newer.id}
    problem(gateway.http.post("/v1/collections/pets/compare", json=both), 503, "artifact_corrupt")
    assert len(ask(gateway, query="dog").json()["hits"]) == 4


def checks_of(gateway: Gateway, indexes: LiveIndexes, found: list[int], **pace: float) -> IndexChecks:
    return IndexChecks(indexes, gateway.parts.artifacts, found=lambda: found.append(1), **pace)


def test_reading_takes_as_long_as_it_is_to_take_and_ends_at_once_with_the_gateway(
    two: tuple[Gateway, VersionRecord],
) -> None:
    gateway, version = two
    sizes = gateway.parts.artifacts.sealed_files(folder_of(gateway, version))
    num_bytes = sum(size for size, _ in sizes.values())
    stop, found, began = threading.Event(), list[int](), time.monotonic()
    checks_of(gateway, gateway.parts.search.indexes, found, bytes_per_second=10.0 * num_bytes).once(stop)
    assert time.monotonic() - began >= 0.15  # two indexes of about one size, a tenth of a second each
    flip(folder_of(gateway, version) / INDEX_FILE)
    slow = checks_of(gateway, gateway.parts.search.indexes, found, bytes_per_second=1.0)
    reading = threading.Thread(target=slow.once, args=(stop,))
    reading.start()
    stop.set()
    reading.join(5.0)
    assert not reading.is_alive() and found == []


def test_the_loop_goes_round_until_it_is_stopped(
    two: tuple[Gateway, VersionRecord], until: Callable[[Callable[[], bool]], None]
) -> None:
    gateway, version = two
    stop, found = threading.Event(), list[int]()
    checks = checks_of(gateway, gateway.parts.search.indexes, found, rest_seconds=0.01)
    loop = threading.Thread(target=checks.run, args=(stop,))
    loop.start()
    flip(folder_of(gateway, version) / INDEX_FILE)
    until(lambda: found == [1])
    stop.set()
    loop.join(5.0)
    assert not loop.is_alive()
    problem(ask(gateway, query="dog"), 503, "artifact_corrupt")


def test_a_gateway_that_serves_has_the_loop(gateway: Gateway) -> None:
    assert "checks" in {thread.name for thread in threading.enumerate()}
