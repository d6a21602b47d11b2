"""Whoever asked for it is told of a job's end: written with the end itself, claimed by one sender at a time, kept."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.store import deliveries, jobs, sweep, webhooks, wishes
from service.store.database import Database
from service.store.deliveries import CLAIM_SECONDS, KEPT_SECONDS
from service.store.errors import Conflict, NotFound
from service.store.records import JobError, JobKind, JobRecord, Page
from service.store.signals import DeliveryRecord, DeliveryStatus, EventType

Make = Callable[..., JobRecord]
FAILURE = JobError(code="boom", message="It broke.")


def endpoint(database: Database, *, project: str = "default", types: Sequence[EventType] = (*EventType,)) -> str:
    with database.write() as tx:
        made = webhooks.create_endpoint(tx, project, name="n", url="https://a.example/", event_types=types, now=1.0)
    return made.id


def told(database: Database, id: str) -> list[DeliveryRecord]:
    with database.read() as tx:
        return deliveries.page_deliveries(tx, id, page=Page(limit=100, descending=False))[0]


def started(database: Database, make_job: Make, **fields: object) -> JobRecord:
    """A job that runs."""
    with database.write() as tx:
        jobs.insert(tx, make_job(**fields))
        queue = "train" if fields.get("kind", JobKind.TRAIN) is JobKind.TRAIN else "medium"
        job = jobs.claim(tx, queue, owner="host:1", now=10.0)
    assert job is not None
    return job


def ended(database: Database, make_job: Make, **fields: object) -> JobRecord:
    """A job that has succeeded at 20."""
    job = started(database, make_job, **fields)
    with database.write() as tx:
        assert jobs.succeed(tx, job.id, attempt=1, now=20.0, result={})
    return job


def test_an_end_is_told_to_those_of_its_project_that_asked(database: Database, make_job: Make) -> None:
    all_of_it = endpoint(database)
    other = endpoint(database, types=[EventType.JOB_SUCCEEDED])
    foreign = endpoint(database, project="other")
    job = ended(database, make_job)
    (told_of,) = told(database, all_of_it)
    assert (told_of.event_type, told_of.data, told_of.event_at) == ("fine_tuning.job.succeeded", {"id": job.id}, 20.0)
    assert (told_of.status, told_of.attempts, told_of.next_at) == (DeliveryStatus.PENDING, 0, 20.0)
    assert told(database, other) == told(database, foreign) == []
    mined = ended(database, make_job, kind=JobKind.MINE)
    assert [one.data for one in told(database, other)] == [{"id": mined.id, "kind": "mine"}]


def test_what_is_undone_is_told_to_nobody(database: Database, make_job: Make) -> None:
    id, job = endpoint(database), started(database, make_job)
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        assert jobs.succeed(tx, job.id, attempt=1, now=20.0, result={})
        raise ZeroDivisionError
    with database.write() as tx:
        assert not jobs.succeed(tx, job.id, attempt=2, now=20.0, result={})  # fenced
    assert told(database, id) == []


def test_every_way_to_end_is_told_and_nothing_else(database: Database, make_job: Make) -> None:
    id = endpoint(database)
    with database.write() as tx:
        waiting = make_job()
        jobs.insert(tx, waiting)
        wishes.request_pause(tx, "default", id=waiting.id, now=1.0)
        wishes.request_resume(tx, "default", id=waiting.id, now=2.0)
        wishes.request_cancel(tx, "default", id=waiting.id, now=3.0)
        wishes.request_cancel(tx, "default", id=waiting.id, now=4.0)  # again: no second event
    cancelled = started(database, make_job)
    failed = started(database, make_job)
    lost = started(database, make_job, max_losses=1)
    with database.write() as tx:
        jobs.release(tx, failed.id, attempt=1, now=5.0, lost=False, reason="drained")
        jobs.claim(tx, "train", owner="host:2", now=6.0)
        jobs.cancelled(tx, cancelled.id, attempt=1, now=10.0)
        jobs.fail(tx, failed.id, attempt=2, now=11.0, error=FAILURE)
        sweep.reap(tx, 100.0)
    ends = {one.data["id"]: one.event_type.rpartition(".")[2] for one in told(database, id)}
    expected = {waiting.id: "cancelled", cancelled.id: "cancelled", failed.id: "failed", lost.id: "failed"}
    assert ends == expected and len(told(database, id)) == 4


def test_two_senders_never_have_the_same_delivery(database: Database, make_job: Make) -> None:
    endpoint(database)
    for _ in range(12):
        ended(database, make_job)

    def claim(_: int) -> list[str]:
        with database.write() as tx:
            return [one.id for one in deliveries.claim_due(tx, now=30.0, limit=4)]

    with ThreadPoolExecutor(6) as threads:
        claimed = [id for batch in threads.map(claim, range(12)) for id in batch]
    assert len(claimed) == len(set(claimed)) == 12


def test_what_a_killed_sender_had_is_sent_by_another(database: Database, make_job: Make) -> None:
    endpoint(database)
    ended(database, make_job)
    with database.write() as tx:
        (lost,) = deliveries.claim_due(tx, now=30.0, limit=4)
    with database.write() as tx:
        assert not deliveries.any_due(tx, now=30.0 + CLAIM_SECONDS - 1)
        (again,) = deliveries.claim_due(tx, now=30.0 + CLAIM_SECONDS, limit=4)
        assert (again.event_id, again.attempts) == (lost.event_id, 2)
        assert deliveries.body_of(again) == deliveries.body_of(lost)
        # the first was only slow: what it says late is not what came of the second
        assert not deliveries.settle(tx, lost, status_code=500, detail="", again_at=None)
        assert deliveries.settle(tx, again, status_code=204, detail="", again_at=None)


@pytest.mark.parametrize(
    ("code", "again_at", "status"),
    [(200, 99.0, "delivered"), (302, 99.0, "pending"), (500, None, "failed"), (None, 99.0, "pending")],
)
def test_what_came_of_a_try_is_in_the_log(
    database: Database, make_job: Make, code: int | None, again_at: float | None, status: str
) -> None:
    id = endpoint(database)
    ended(database, make_job)
    with database.write() as tx:
        (one,) = deliveries.claim_due(tx, now=30.0, limit=4)
        assert deliveries.settle(tx, one, status_code=code, detail="said", again_at=again_at)
    (logged,) = told(database, id)
    assert (logged.status, logged.status_code, logged.detail, logged.tried_at) == (status, code, "said", 30.0)
    assert logged.next_at == (99.0 if status == "pending" else None)


def test_a_replay_has_the_id_of_its_event_and_waits_for_none(database: Database, make_job: Make) -> None:
    id = endpoint(database)
    ended(database, make_job)
    with database.write() as tx:
        (one,) = deliveries.claim_due(tx, now=30.0, limit=4)
        deliveries.settle(tx, one, status_code=500, detail="", again_at=9_999.0)
        assert deliveries.replay(tx, id, id=one.id, now=40.0).next_at == 40.0  # the one that waited, sooner
        (second,) = deliveries.claim_due(tx, now=40.0, limit=4)
        assert deliveries.replay(tx, id, id=one.id, now=41.0).next_at == 40.0 + CLAIM_SECONDS  # at work: no second one
        deliveries.settle(tx, second, status_code=200, detail="", again_at=None)
        new = deliveries.replay(tx, id, id=one.id, now=50.0)
        assert (new.event_id, new.status, new.attempts) == (one.event_id, "pending", 0) and new.id != one.id
        with pytest.raises(NotFound):
            deliveries.replay(tx, "whe-other", id=one.id, now=50.0)


def test_the_log_reaches_back_thirty_days(database: Database, make_job: Make) -> None:
    id = endpoint(database)
    ended(database, make_job)
    with database.write() as tx:
        (one,) = deliveries.claim_due(tx, now=30.0, limit=4)
        deliveries.settle(tx, one, status_code=200, detail="", again_at=None)
    late = started(database, make_job)
    with database.write() as tx:
        jobs.succeed(tx, late.id, attempt=1, now=30.0 + KEPT_SECONDS, result={})
    assert [record.data["id"] for record in told(database, id)] == [late.id]


def test_an_endpoint_changes_rotates_and_goes(database: Database, make_job: Make) -> None:
    id = endpoint(database)
    ended(database, make_job)
    with database.write() as tx:
        first = webhooks.get_endpoint(tx, "default", id=id)
        same = webhooks.change_endpoint(tx, "default", id=id, now=5.0, values={"name": "n"})
        assert same == first and first.secret not in repr(first)
        changed = webhooks.change_endpoint(tx, "default", id=id, now=5.0, values={"name": "m"})
        assert changed == replace(first, name="m", updated_at=5.0)
        rotated = webhooks.rotate_secret(tx, "default", id=id, now=6.0, grace_seconds=10.0)
        assert rotated.secrets(15.9) == (rotated.secret, first.secret) and rotated.secrets(16.0) == (rotated.secret,)
        assert len(webhooks.rotate_secret(tx, "default", id=id, now=7.0, grace_seconds=0.0).secrets(7.0)) == 1
        for forbidden in ("other", ""):
            with pytest.raises(NotFound):
                webhooks.delete_endpoint(tx, forbidden, id=id)
        webhooks.delete_endpoint(tx, "default", id=id)
        assert not deliveries.any_due(tx, now=1e9) and webhooks.endpoints_by_ids(tx, [id]) == {}


def test_a_project_has_fifty_endpoints_at_most(sqlite: Database) -> None:
    made = [endpoint(sqlite) for _ in range(webhooks.MAX_ENDPOINTS)]
    with pytest.raises(Conflict, match="delete one first"):
        endpoint(sqlite)
    endpoint(sqlite, project="other")
    with sqlite.write() as tx:
        webhooks.delete_endpoint(tx, "default", id=made[0])
    assert endpoint(sqlite) not in made
