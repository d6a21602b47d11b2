"""What is remembered of the database: never what this process has changed, never for longer than a second."""

import threading

from service.recent import RECENT_SECONDS, Recent
from service.store.database import Database


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_read_once_a_second(database: Database) -> None:
    clock = Clock()
    recent: Recent[str, int] = Recent(database, clock=clock)
    reads = iter(range(10))

    assert recent.get("a") is None
    assert [recent.read("a", lambda: next(reads)) for _ in range(3)] == [0, 0, 0]
    clock.now += RECENT_SECONDS
    assert recent.get("a") == 0
    clock.now += 0.001
    assert recent.get("a") is None
    assert recent.read("a", lambda: next(reads)) == 1


def test_a_write_of_this_process_ends_it(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())
    recent.read("a", lambda: 1)
    with database.read():
        assert recent.get("a") == 1
    with database.write():
        assert recent.get("a") == 1  # not committed
    assert recent.get("a") is None


def test_a_write_while_it_is_read_ends_it(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())

    def read_and_be_overtaken() -> int:
        with database.write():
            pass
        return 1

    assert recent.read("a", read_and_be_overtaken) == 1
    assert recent.get("a") is None


def test_an_undone_write_may_have_happened(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())
    recent.read("a", lambda: 1)
    try:
        with database.write():
            raise KeyError
    except KeyError:
        pass
    assert recent.get("a") is None


def test_writes_of_many_threads_leave_nothing_believed(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())

    def write() -> None:
        with database.write():
            pass

    for _ in range(5):
        recent.read("a", lambda: 1)
        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recent.get("a") is None


def test_it_does_not_grow(database: Database) -> None:
    recent: Recent[int, int] = Recent(database, clock=Clock())
    for key in range(5_000):
        recent.read(key, lambda: 1)
    assert sum(recent.get(key) is not None for key in range(5_000)) <= 1_024
    assert recent.get(4_999) == 1
