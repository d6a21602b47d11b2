"""What is remembered of the database: never what this process has changed, never for longer than a second."""

import threading
from pathlib import Path

from service.recent import Recent
from service.store import keys
from service.store.database import Database, Tx, migrate


def touch(tx: Tx) -> None:
    keys.create(tx, "default", name="of a test", now=0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_read_once_until_something_is_written(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())
    reads = iter(range(10))

    assert recent.get("a") is None
    assert [recent.read("a", lambda: next(reads)) for _ in range(3)] == [0, 0, 0]
    with database.write() as tx:
        touch(tx)
    assert recent.get("a") is None
    assert recent.read("a", lambda: next(reads)) == 1


def test_what_another_process_writes_ends_it_at_once_or_in_time(database: Database, url: str) -> None:
    clock = Clock()
    recent: Recent[str, int] = Recent(database, unseen_seconds=0.5, clock=clock)
    recent.read("a", lambda: 1)
    other = Database.open(url)
    assert recent.get("a") == 1
    with other.write() as tx:
        touch(tx)
    other.close()
    assert recent.get("a") == (None if database.sees_all_writes else 1)
    recent.read("a", lambda: 2)
    clock.now += 0.499
    assert recent.get("a") is not None
    clock.now += 0.002
    assert recent.get("a") == (2 if database.sees_all_writes else None)


def test_a_database_that_cannot_be_asked_for_its_state_is_never_believed(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'store.db'}")
    database = Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    database.mark()
    database.close()
    (tmp_path / "store.db").write_bytes(b"no database" * 1_000)
    assert len({database.mark() for _ in range(3)}) == 3
    database.close()
    (tmp_path / "store.db").unlink()
    assert len({database.mark() for _ in range(3)}) == 3
    assert not (tmp_path / "store.db").exists()


def test_a_write_of_this_process_ends_it(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())
    recent.read("a", lambda: 1)
    with database.read():
        assert recent.get("a") == 1
    with database.write() as tx:
        touch(tx)
        assert recent.get("a") == 1  # not committed
    assert recent.get("a") is None


def test_a_write_while_it_is_read_ends_it(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())

    def read_and_be_overtaken() -> int:
        with database.write() as tx:
            touch(tx)
        return 1

    assert recent.read("a", read_and_be_overtaken) == 1
    assert recent.get("a") is None


def test_writes_of_many_threads_leave_nothing_believed(database: Database) -> None:
    recent: Recent[str, int] = Recent(database, clock=Clock())

    def write() -> None:
        with database.write() as tx:
            touch(tx)

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
