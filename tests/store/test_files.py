import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from service.store import files, jobs
from service.store.database import Database
from service.store.errors import BadCursor, Conflict, NotFound
from service.store.records import FilePurpose, FileRecord, JobRecord, Page

MakeFile = Callable[..., FileRecord]
MakeJob = Callable[..., JobRecord]


def test_a_file_reads_back_as_it_was_stored(database: Database, make_file: MakeFile) -> None:
    file = make_file(filename="päare.jsonl", num_bytes=2**40, counts={"pairs": 3, "empty_lines": 1})
    with database.write() as tx:
        files.insert_file(tx, file)
        assert files.get_file(tx, "default", id=file.id) == file
        with pytest.raises(NotFound, match="No such file"):
            files.get_file(tx, "other", id=file.id)


def test_files_are_listed_by_purpose_and_page(database: Database, make_file: MakeFile) -> None:
    made = [make_file(created_at=float(i)) for i in range(4)]
    judgements = make_file(purpose=FilePurpose.EVAL, created_at=9.0)
    with database.write() as tx:
        for file in [*made, judgements, make_file(project="other")]:
            files.insert_file(tx, file)
        assert files.page_files(tx, "default", page=Page(limit=2)) == ([judgements, made[3]], True)
        assert files.page_files(tx, "default", page=Page(), purpose=FilePurpose.EVAL) == ([judgements], False)
        upwards = Page(after=made[1].id, descending=False)
        assert files.page_files(tx, "default", page=upwards, purpose=FilePurpose.FINE_TUNE) == (made[2:], False)
        with pytest.raises(BadCursor):
            files.page_files(tx, "other", page=Page(after=made[0].id))


def test_a_file_is_deleted_once(database: Database, make_file: MakeFile) -> None:
    file = make_file()
    with database.write() as tx:
        files.insert_file(tx, file)
        with pytest.raises(NotFound):
            files.delete_file(tx, "other", id=file.id)
        files.delete_file(tx, "default", id=file.id)
        with pytest.raises(NotFound):
            files.delete_file(tx, "default", id=file.id)


def test_a_file_stays_while_a_job_that_has_not_ended_names_it(
    database: Database, make_file: MakeFile, make_job: MakeJob
) -> None:
    file, job = make_file(), make_job()
    job = make_job(spec={"evaluation": {"file": file.id}})
    with database.write() as tx:
        files.insert_file(tx, file)
        jobs.insert(tx, job)
        with pytest.raises(Conflict, match=job.id) as caught:
            files.delete_file(tx, "default", id=file.id)
        jobs.claim(tx, "train", owner="o", now=9e9)
        with pytest.raises(Conflict):
            files.delete_file(tx, "default", id=file.id)
        jobs.succeed(tx, job.id, attempt=1, now=9e9, result={})
        files.delete_file(tx, "default", id=file.id)
    assert caught.value.code == "in_use"


def test_a_file_cannot_go_while_its_job_is_being_submitted(
    postgres_url: str, make_file: MakeFile, make_job: MakeJob, until: Callable[[Callable[[], bool]], None]
) -> None:
    database = Database.open(postgres_url)  # SQLite has one writer anyway
    file = make_file()
    outcome: list[str] = []
    with database.write() as tx:
        files.insert_file(tx, file)

    def delete() -> None:
        try:
            with database.write() as tx:
                files.delete_file(tx, "default", id=file.id)
            outcome.append("deleted")
        except Conflict as error:
            outcome.append(error.code)

    def one_waits_for_a_lock() -> bool:
        with database.read() as tx:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(tx.execute(sa.text(f"{waiting} AND datname = current_database()")).scalar_one())

    with database.write() as tx:
        jobs.insert(tx, make_job(spec={"training_file": file.id}))
        thread = threading.Thread(target=delete)
        thread.start()
        until(lambda: bool(outcome) or one_waits_for_a_lock())
    thread.join()
    assert outcome == ["in_use"]
    database.close()
