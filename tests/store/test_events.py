from collections.abc import Callable

import pytest

from service.store import events, jobs
from service.store.database import Database
from service.store.errors import BadCursor, Conflict
from service.store.events import NewEvent
from service.store.records import JobRecord, Page


@pytest.fixture
def job(database: Database, make_job: Callable[..., JobRecord]) -> JobRecord:
    """A job with the event `submitted` and nine of our own, beside another job."""
    job, other = make_job(), make_job()
    with database.write() as tx:
        jobs.insert(tx, job)
        jobs.insert(tx, other)
        for i in range(9):
            event = NewEvent(job_id=job.id, attempt=1, at=float(i), type="note", message=f"event {i}", data={"i": i})
            events.append(tx, event)
    return job


def test_an_event_reads_back_as_it_was_written(database: Database, job: JobRecord) -> None:
    with database.read() as tx:
        (last,), more = events.page(tx, job.id, page=Page(limit=1))
    assert more
    assert (last.job_id, last.attempt, last.at, last.level) == (job.id, 1, 8.0, "info")
    assert (last.type, last.message, last.data) == ("note", "event 8", {"i": 8})


@pytest.mark.parametrize("descending", [False, True])
def test_pages_join_to_the_whole_story(database: Database, job: JobRecord, descending: bool) -> None:
    seen: list[int] = []
    more = True
    with database.read() as tx:
        while more:
            page = Page(after=str(seen[-1]) if seen else None, limit=3, descending=descending)
            some, more = events.page(tx, job.id, page=page)
            seen += [event.id for event in some]
    assert len(seen) == 10
    assert seen == sorted(seen, reverse=descending)


@pytest.mark.parametrize("after", ["", "-1", "1.5", "x", "9" * 400, "٣"])
def test_a_cursor_that_is_no_events_id_is_refused(database: Database, job: JobRecord, after: str) -> None:
    with pytest.raises(BadCursor), database.read() as tx:
        events.page(tx, job.id, page=Page(after=after))


def test_an_event_of_no_job_is_refused(database: Database) -> None:
    with pytest.raises(Conflict), database.write() as tx:
        events.append(tx, NewEvent(job_id="ftjob-unknown", attempt=1, at=1.0, type="note", message="m"))
