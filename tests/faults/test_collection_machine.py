"""Whatever is written, moved, compacted and cut off, two gateways find what a plain dict holds."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.collection_machine import look
from tests.faults.collection_world import Ground

NUM_STORIES = 16
"""Always the same; new ones, and more, are looked for by `python -m tests.faults.collection_machine`."""
WRITES = ("new", "replaced", "own vector", "many", "lines", "deleted by id", "deleted by filter")
MOVES = ("compacted", "promoted", "rolled back", "moved to another model", "gateway cut off", "worker cut off")
QUERIES = ("filtered", "by vector", "by id", "hybrid")
ENOUGH = 2
"""Of a kind, over all stories: what hardly ever happens shows nothing."""


@pytest.fixture
def quiet() -> Iterator[None]:
    """A request that is cut off is an error in the gateway's log, with all that led to it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
def test_two_gateways_find_what_a_dictionary_holds_whatever_is_cut_off(tmp_path: Path) -> None:
    done = look(Ground.lay(tmp_path), num_examples=NUM_STORIES, num_steps=32, always_same=True)
    print(dict(done))
    assert [name for name in (*WRITES, *MOVES, *QUERIES) if done[name] < ENOUGH] == []
