from collections.abc import Callable

import pytest

from service.store import events, files, jobs, wishes
from service.store.database import Database
from service.store.errors import BadCursor, InvalidValue, NotFound
from service.store.records import FileRecord, JobError, JobKind, JobRecord, Page

Make = Callable[..., JobRecord]
ERROR = JobError(code="nan_loss", message="The loss left the numbers.", param="learning_rate", user=True)


def test_a_job_reads_back_as_it_was_submitted(database: Database, make_job: Make) -> None:
    spec = {"model": "m", "config": {"learning_rate": 2e-5, "n": 2**53, "texts": ["ä", "日本"], "none": None}}
    job = make_job(spec=spec, metadata={"team": "search"}, priority=-3, subject="col-1", error=ERROR)
    with database.write() as tx:
        jobs.insert(tx, job)
    with database.read() as tx:
        assert jobs.get(tx, "default", id=job.id) == job
        (event,), _ = events.page(tx, job.id, page=Page())
    assert (event.type, event.at) == ("submitted", job.created_at)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1, "\x00", "\ud800", {"k\x00": 1}, object()])
def test_a_spec_that_a_backend_could_not_hold_is_refused(database: Database, make_job: Make, value: object) -> None:
    with pytest.raises(InvalidValue), database.write() as tx:
        jobs.insert(tx, make_job(spec={"deep": [value]}))


def test_a_foreign_job_does_not_exist(database: Database, make_job: Make) -> None:
    job = make_job(project="other")
    with database.write() as tx:
        jobs.insert(tx, job)
        for ask in (jobs.get, lambda *args, **kw: wishes.request_cancel(*args, **kw, now=1.0)):
            with pytest.raises(NotFound) as caught:
                ask(tx, "default", id=job.id)
            assert (caught.value.kind, caught.value.id) == ("job", job.id)


def test_pages_join_to_the_whole_list(database: Database, make_job: Make) -> None:
    made = [make_job(created_at=float(i // 3)) for i in range(10)]  # threes of one age
    with database.write() as tx:
        for job in [*made, make_job(project="other"), make_job(kind=JobKind.INDEX)]:
            jobs.insert(tx, job)
        for descending in (False, True):
            ids: list[str] = []
            more = True
            while more:
                page = Page(after=ids[-1] if ids else None, limit=4, descending=descending)
                some, more = jobs.page(tx, "default", kinds=[JobKind.TRAIN], page=page)
                ids += [job.id for job in some]
            order = sorted(made, key=lambda job: (job.created_at, job.id), reverse=descending)
            assert ids == [job.id for job in order]


@pytest.mark.parametrize("after", ["ftjob-unknown", "", "' or 1=1"])
def test_an_unknown_cursor_is_refused(database: Database, after: str) -> None:
    with pytest.raises(BadCursor), database.read() as tx:
        jobs.page(tx, "default", kinds=[JobKind.TRAIN], page=Page(after=after))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [({"team": "a"}, {0, 1}), ({"team": "a", 'q"u': "'%_"}, {1}), ({"team": "A"}, set()), ({"a": "team"}, set())],
)
def test_metadata_selects_exact_pairs(
    database: Database, make_job: Make, wanted: dict[str, str], expected: set[int]
) -> None:
    metadata = [{"team": "a"}, {"team": "a", 'q"u': "'%_"}, {"other": '"team":"a"'}, {}]
    made = [make_job(metadata=one) for one in metadata]
    with database.write() as tx:
        for job in made:
            jobs.insert(tx, job)
        found, _ = jobs.page(tx, "default", kinds=[JobKind.TRAIN], page=Page(metadata=wanted))
    assert {job.id for job in found} == {made[i].id for i in expected}


def test_a_job_cannot_name_a_file_that_is_not_there(
    database: Database, make_job: Make, make_file: Callable[..., FileRecord]
) -> None:
    mine, foreign = make_file(), make_file(project="other")
    with database.write() as tx:
        files.insert_file(tx, mine)
        files.insert_file(tx, foreign)
        jobs.insert(tx, make_job(spec={"training_file": mine.id, "validation_file": None}))
        with pytest.raises(NotFound, match=foreign.id):
            jobs.insert(tx, make_job(spec={"training_file": mine.id, "evaluation": {"file": foreign.id}}))


def test_a_twin_is_a_job_of_the_same_kind_and_subject_that_still_waits(database: Database, make_job: Make) -> None:
    twin = make_job(kind=JobKind.INDEX, subject="col-1")
    with database.write() as tx:
        jobs.insert(tx, make_job(kind=JobKind.INDEX, subject="col-2"))
        jobs.insert(tx, twin)
        assert jobs.queued_twin(tx, JobKind.INDEX, subject="col-1") == twin
        assert jobs.queued_twin(tx, JobKind.TRAIN, subject="col-1") is None
        wishes.request_cancel(tx, "default", id=twin.id, now=1.0)
        assert jobs.queued_twin(tx, JobKind.INDEX, subject="col-1") is None


def test_a_twin_cannot_be_claimed_before_its_finder_commits(postgres_url: str, make_job: Make) -> None:
    database = Database.open(postgres_url)  # SQLite has one writer anyway
    twin = make_job(kind=JobKind.INDEX, subject="col-1")
    with database.write() as tx:
        jobs.insert(tx, twin)
    with database.write() as finder:
        assert jobs.queued_twin(finder, JobKind.INDEX, subject="col-1") == twin
        with database.write() as tx:
            assert jobs.claim(tx, "light", owner="o", now=9.0) is None
    with database.write() as tx:
        assert jobs.claim(tx, "light", owner="o", now=9.0) is not None
    database.close()
