import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.store.database import Database, migrate
from service.store.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidSetting,
    InvalidValue,
    SchemaMismatch,
    StorageFull,
)
from service.store.records import FileRecord
from service.store.tables import files, values_of

Make = Callable[..., FileRecord]


def insert(tx: sa.Connection, file: FileRecord) -> None:
    tx.execute(sa.insert(files).values(values_of(file, files)))


def num_files(database: Database) -> int:
    with database.read() as tx:
        return tx.execute(sa.select(sa.func.count()).select_from(files)).scalar_one()


def test_an_exception_undoes_the_whole_transaction(database: Database, make_file: Make) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        insert(tx, make_file())
        _ = 1 / 0
    assert num_files(database) == 0


def test_a_read_transaction_sees_one_state_throughout(database: Database, make_file: Make) -> None:
    query = sa.select(sa.func.count()).select_from(files)
    with database.read() as reader:
        before = reader.execute(query).scalar_one()
        with database.write() as writer:
            insert(writer, make_file())
        assert reader.execute(query).scalar_one() == before
    assert num_files(database) == before + 1


def test_a_read_transaction_cannot_write(database: Database, make_file: Make) -> None:
    with pytest.raises(DatabaseUnavailable), database.read() as tx:
        insert(tx, make_file())
    with database.write() as tx:  # and its connection is as good as before
        insert(tx, make_file())
    assert num_files(database) == 1


def test_no_update_of_many_threads_is_lost(database: Database, make_file: Make) -> None:
    file = make_file(num_bytes=0)
    with database.write() as tx:
        insert(tx, file)

    def add_one(_: int) -> None:
        with database.write() as tx:  # read, then write: what a deferred BEGIN gets wrong
            seen = tx.execute(sa.select(files.c.num_bytes).with_for_update()).scalar_one()
            tx.execute(sa.update(files).values(num_bytes=seen + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add_one, range(200)))
    with database.read() as tx:
        assert tx.execute(sa.select(files.c.num_bytes)).scalar_one() == 200


def test_a_broken_constraint_is_a_conflict(database: Database, make_file: Make) -> None:
    file = make_file()
    with pytest.raises(Conflict), database.write() as tx:
        insert(tx, file)
        insert(tx, file)
    assert num_files(database) == 0


@pytest.mark.parametrize("field", [{"filename": "a\x00b"}, {"filename": "\ud800"}, {"num_bytes": 2**70}])
def test_both_backends_refuse_the_same_values(database: Database, make_file: Make, field: dict[str, object]) -> None:
    with pytest.raises(InvalidValue), database.write() as tx:
        insert(tx, make_file(**field))


def test_a_full_disk_is_said_and_leaves_the_database_sound(sqlite: Database, make_file: Make) -> None:
    with sqlite.write() as tx:
        insert(tx, make_file())
        pages = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageFull, match="Free disk space"), sqlite.write() as tx:
        insert(tx, make_file(filename="x" * 1_000_000))
    with sqlite.read() as tx:
        assert tx.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    assert num_files(sqlite) == 1


def test_a_lock_that_is_not_given_in_time_is_unavailable(sqlite: Database, sqlite_url: str, make_file: Make) -> None:
    with sqlite.write() as tx:
        tx.exec_driver_sql("PRAGMA busy_timeout=20")  # of the one pooled connection, which is used again below
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked"), sqlite.write() as tx:
            insert(tx, make_file())
    with sqlite.write() as tx:
        insert(tx, make_file())
    assert num_files(sqlite) == 1


def test_errors_name_no_user_text(database: Database, make_file: Make) -> None:
    file = make_file(filename="a secret of the user")
    with pytest.raises(Conflict) as caught, database.write() as tx:
        insert(tx, file)
        insert(tx, file)
    assert "a secret" not in str(caught.value.__cause__)


def test_a_killed_connection_costs_one_transaction(
    postgres_url: str, postgres_command: Callable[[str], None], make_file: Make
) -> None:
    database = Database.open(postgres_url)
    with pytest.raises(DatabaseUnavailable), database.write() as tx:
        insert(tx, make_file())
        pid = tx.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
        postgres_command(f"SELECT pg_terminate_backend({pid})")
        tx.execute(sa.select(1))
    assert num_files(database) == 0
    database.close()


def test_a_server_that_is_away_is_unavailable(refused_port: int) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(DatabaseUnavailable):
        Database.open(f"postgresql://u:secret@127.0.0.1:{refused_port}/db")


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db"])
def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="INFONCE_DATABASE_URL must be"):
        Database.open(url)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "store.db"
    migrate(f"sqlite:///{path}")
    database = Database.open(f"sqlite:///{path}")
    with database.write() as tx:
        tx.execute(sa.delete(files))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    database.close()
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_missing_database_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="infonce migrate"):
        Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    assert list(tmp_path.iterdir()) == []
