"""The gateways that are attacked: one as it is, one whose deadlines are short, one that is full soon."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.hostile.gateway import Hostile, attacked, prepare


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Hostile]]:
    """Starts a gateway that ends with the session."""
    with ExitStack() as running:

        def begin(**changes: float) -> Hostile:
            hostile = running.enter_context(attacked(tmp_path_factory.mktemp("gateway"), **changes))
            prepare(hostile)
            return hostile

        yield begin


@pytest.fixture(scope="session")
def hostile(start: Callable[..., Hostile]) -> Hostile:
    """A gateway with the limits that it has by default."""
    return start()


@pytest.fixture(scope="session")
def hasty(start: Callable[..., Hostile]) -> Hostile:
    """A gateway whose deadlines pass in a second."""
    return start(header_seconds=1.0, body_idle_seconds=1.0, body_grace_seconds=1.0, unread_seconds=1.0)


@pytest.fixture(scope="session")
def small(start: Callable[..., Hostile]) -> Hostile:
    """A gateway of few connections and few places."""
    places = {"num_searches": 1, "num_uploads": 2, "num_bodies": 2, "num_changes": 1, "num_reads": 1}
    return start(max_connections=8, wait_seconds=0.3, **places)
