from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.store import jobs, projects, repeats
from service.store.database import Database
from service.store.errors import Conflict, NotFound, Repeated
from service.store.records import JobKind, JobRecord, Page, ProjectRecord, RepeatRecord

ASKED = RepeatRecord(project="p", route="/v1/files", key="k", body_sha256="a", object_id="file-1", created_at=100.0)


def test_a_project_is_made_once_and_its_limits_are_set_one_by_one(database: Database) -> None:
    with database.write() as tx:
        projects.insert_project(tx, ProjectRecord(id="p", created_at=1.0, max_queued_jobs=3))
        projects.ensure(tx, "p", now=2.0)
        found = projects.change_project(tx, "p", values={"max_stored_bytes": 5})
        assert found == ProjectRecord(id="p", created_at=1.0, max_queued_jobs=3, max_stored_bytes=5)
        assert projects.change_project(tx, "p", values={"max_queued_jobs": None}).max_queued_jobs is None
        with pytest.raises(Conflict, match="choose another name"):
            projects.insert_project(tx, ProjectRecord(id="p", created_at=3.0))
        with pytest.raises(NotFound):
            projects.change_project(tx, "q", values={})
        assert [record.id for record in projects.page_projects(tx, only=None, page=Page())[0]] == ["p"]
        assert projects.page_projects(tx, only="q", page=Page()) == ([], False)


def test_of_many_at_once_no_more_are_admitted_than_may_wait(
    database: Database, make_job: Callable[..., JobRecord]
) -> None:
    def submit(number: int) -> bool:
        with database.write() as tx:
            projects.held(tx, "p", now=1.0)
            if projects.num_waiting_jobs(tx, "p") >= 3:
                return False
            jobs.insert(tx, make_job(project="p"))
            return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(submit, range(24))) == 3


def test_of_index_jobs_those_of_versions_wait_as_what_somebody_ordered(
    database: Database, make_job: Callable[..., JobRecord]
) -> None:
    specs = [{"collection": "c"}, {"collection": 'c "of_model":'}, {"collection": "c", "version": "v", "of_model": "m"}]
    with database.write() as tx:
        for spec in specs:
            jobs.insert(tx, make_job(project="p", kind=JobKind.INDEX, spec=spec))
        assert projects.num_waiting_jobs(tx, "p") == 1


def test_a_repetition_finds_what_was_made_and_another_body_is_refused(database: Database) -> None:
    with database.write() as tx:
        repeats.check(tx, ASKED, since=0.0)
        repeats.remember(tx, ASKED, since=0.0)
        for act in (repeats.check, repeats.remember):
            with pytest.raises(Repeated) as found:
                act(tx, replace(ASKED, object_id="file-2"), since=50.0)
            assert found.value.object_id == "file-1"
            with pytest.raises(Conflict, match="send a new key"):
                act(tx, replace(ASKED, body_sha256="b"), since=50.0)
        for other in ({"project": "q"}, {"route": "/v1/jobs"}, {"key": "l"}):
            repeats.check(tx, replace(ASKED, **other), since=0.0)


def test_a_key_is_free_again_after_its_time_and_old_rows_go(database: Database) -> None:
    with database.write() as tx:
        repeats.remember(tx, ASKED, since=0.0)
        repeats.remember(tx, replace(ASKED, object_id="file-2", body_sha256="b", created_at=200.0), since=150.0)
        with pytest.raises(Repeated):
            repeats.check(tx, replace(ASKED, body_sha256="b"), since=150.0)
        repeats.remember(tx, replace(ASKED, key="l", created_at=201.0 + repeats.KEPT_SECONDS), since=0.0)
        repeats.check(tx, ASKED, since=0.0)


def test_of_two_at_once_one_makes_the_object_and_the_other_finds_it(database: Database) -> None:
    def send(number: int) -> str:
        try:
            with database.write() as tx:
                repeats.remember(tx, replace(ASKED, object_id=f"file-{number}"), since=0.0)
            return f"file-{number}"
        except Repeated as earlier:
            return earlier.object_id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(send, range(16)))) == 1
