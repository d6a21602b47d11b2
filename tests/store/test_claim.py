import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from service.store import jobs
from service.store.database import Database
from service.store.records import JobKind, JobRecord, JobStatus, Phase
from service.store.waiting import queue_positions

Make = Callable[..., JobRecord]


def claim(database: Database, queue: str = "train", *, now: float = 1e6) -> JobRecord | None:
    with database.write() as tx:
        return jobs.claim(tx, queue, owner="host:1", now=now)


def insert(database: Database, *some: JobRecord) -> None:
    with database.write() as tx:
        for job in some:
            jobs.insert(tx, job)


def test_a_claim_takes_the_lease_and_the_next_attempt(database: Database, make_job: Make) -> None:
    job = make_job(doorbell_at=1.0)
    insert(database, job)
    claimed = claim(database, now=100.0)
    assert claimed == replace(
        job,
        status=JobStatus.RUNNING,
        phase=Phase.LOADING,
        attempt=1,
        lease_owner="host:1",
        lease_until=160.0,
        started_at=100.0,
        doorbell_at=None,
    )
    assert claim(database) is None


def test_a_second_claim_keeps_the_first_start(database: Database, make_job: Make) -> None:
    insert(database, make_job())
    first = claim(database, now=100.0)
    assert first is not None
    with database.write() as tx:
        jobs.release(tx, first.id, attempt=1, now=150.0, lost=False, reason="drained")
    second = claim(database, now=200.0)
    assert second is not None
    assert (second.attempt, second.started_at, second.lease_until) == (2, 100.0, 260.0)


def test_a_queue_gives_only_its_own_kinds(database: Database, make_job: Make) -> None:
    train, index = make_job(), make_job(kind=JobKind.INDEX)
    insert(database, index, train)
    claimed = [claim(database, "train"), claim(database, "train"), claim(database, "light")]
    assert [job and job.id for job in claimed] == [train.id, None, index.id]


def test_a_job_waits_for_its_time(database: Database, make_job: Make) -> None:
    insert(database, make_job(run_after=50.0))
    assert claim(database, now=49.9) is None
    assert claim(database, now=50.0) is not None


def test_claims_come_in_the_order_of_a_slow_obvious_choice(database: Database, make_job: Make) -> None:
    draw = random.Random(0)
    waiting = [
        make_job(project=draw.choice("abc"), priority=draw.choice([0, 0, 0, 1]), created_at=float(draw.randrange(5)))
        for _ in range(40)
    ]
    insert(database, *waiting)
    running: Counter[str] = Counter()
    while waiting:
        best = min(waiting, key=lambda job: (-job.priority, running[job.project], job.created_at, job.id))
        claimed = claim(database)
        assert claimed is not None
        assert claimed.id == best.id
        waiting.remove(best)
        running[best.project] += 1
    assert claim(database) is None


def test_the_place_in_the_queue_is_the_order_of_claims(database: Database, make_job: Make) -> None:
    made = [make_job(priority=i % 3, created_at=float(i // 2)) for i in range(9)]
    insert(database, *made, make_job(kind=JobKind.INDEX, priority=9))
    with database.read() as tx:
        places = queue_positions(tx, made)
        assert queue_positions(tx, made[:1]) == {made[0].id: places[made[0].id]}
    order = [job.id for job in iter(lambda: claim(database), None) if job is not None]
    assert places == {id: place for place, id in enumerate(order, start=1)}
    with database.read() as tx:
        assert queue_positions(tx, [jobs.get(tx, "default", id=order[0])]) == {}


def test_eight_threads_claim_fifty_jobs_each_once(database: Database, make_job: Make) -> None:
    made = [make_job(project=f"p{i % 3}") for i in range(50)]
    insert(database, *made)

    def claim_all(_: int) -> list[str]:
        return [job.id for job in iter(lambda: claim(database), None) if job is not None]

    with ThreadPoolExecutor(8) as threads:
        claimed = [id for ids in threads.map(claim_all, range(8)) for id in ids]
    assert sorted(claimed) == sorted(job.id for job in made)
