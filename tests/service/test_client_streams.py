"""Jobs followed through the client: by their stream, resumed where it breaks, looked at where there is none."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import httpx2
import pytest

from service.client import AsyncClient, Client
from service.client_streams import FIRST_PAUSE_SECONDS, Told
from service.errors import ApiError
from service.schemas.job_answers import Job, JobEvent, JobNews, JobProgress
from service.schemas.keys import ApiKeyCreate
from service.settings import EdgeLimits, GatewaySettings
from service.store import jobs
from service.store.records import JobError, JobKind, JobRecord, JobStatus, Phase, new_id
from tests.service.conftest import Live

JOB = "job-" + "0" * 26


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """One stream is read at a time, and its key is looked at again soon."""
    return replace(settings, edge=EdgeLimits(num_streams=1, key_seconds=0.2))


@pytest.fixture
def job(live: Live) -> str:
    """The id of a job that waits."""
    common = {"project": "default", "kind": JobKind.INDEX, "status": JobStatus.QUEUED, "phase": Phase.WAITING}
    record = JobRecord(id=new_id("job"), created_at=live.parts.clock(), spec={}, **common)
    with live.parts.database.write() as tx:
        jobs.insert(tx, record)
    return record.id


def stream_of(id: str) -> str:
    return f"/v1/jobs/{id}/events/stream"


def claim(live: Live) -> None:
    with live.parts.database.write() as tx:
        assert jobs.claim(tx, "light", owner="test", now=live.parts.clock()) is not None


def fail(live: Live, id: str) -> None:
    with live.parts.database.write() as tx:
        assert jobs.fail(tx, id, attempt=1, now=live.parts.clock(), error=JobError(code="c", message="m"))


def types(told: Sequence[Told]) -> list[str]:
    return [one.data["type"] for one in told if isinstance(one, JobEvent)]


def statuses(told: Sequence[Told]) -> list[str]:
    return list(dict.fromkeys(one.status for one in told if isinstance(one, JobNews)))


class Cutting(httpx2.HTTPTransport):
    """Real HTTP, of which the first streams break after so many pieces."""

    def __init__(self, *pieces: int) -> None:
        super().__init__()
        self._pieces = list(pieces)
        self.paths = list[str]()
        self.last_event_ids = list[str | None]()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(request.url.path)
        got = super().handle_request(request)
        if request.url.path.endswith("/stream"):
            self.last_event_ids.append(request.headers.get("last-event-id"))
            if self._pieces:
                assert isinstance(got.stream, httpx2.SyncByteStream)
                got.stream = Cut(got.stream, self._pieces.pop(0))
        return got


class Cut(httpx2.SyncByteStream):
    """The beginning of an answer."""

    def __init__(self, whole: httpx2.SyncByteStream, num_pieces: int) -> None:
        self._whole = whole
        self._num_pieces = num_pieces

    def __iter__(self) -> Iterator[bytes]:
        for number, piece in enumerate(self._whole, start=1):
            yield piece
            if number == self._num_pieces:
                raise httpx2.ReadError("the connection is lost")

    def close(self) -> None:
        self._whole.close()


Answer = Callable[[], httpx2.Response]
"""What a server answers, or raises where there is none."""


class Script:
    """A server of one job, which answers as it is told, to each who asks for the stream or for the job."""

    def __init__(self, *streams: Answer, statuses: Sequence[str] = ()) -> None:
        self._streams = list(streams)
        self._statuses = list(statuses)
        self.asked = list[str]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        by_stream = request.url.path == stream_of(JOB)
        self.asked.append("stream" if by_stream else "job")
        if by_stream:
            return self._streams.pop(0)()
        return httpx2.Response(200, text=job_object(self._statuses.pop(0)).model_dump_json())

    def copy(self) -> "Script":
        return Script(*self._streams, statuses=self._statuses)


def job_object(status: str) -> Job:
    common = {"created_at": 0, "metadata": {}, "priority": 0, "result": {}, "result_files": [], "attempt": 0}
    asked = dict.fromkeys(("cancel_requested", "pause_requested", "keep_requested"), False)
    unknown = dict.fromkeys(("started_at", "finished_at", "subject", "error"))
    known = {"id": JOB, "kind": "index", "status": status, "phase": "waiting", "progress": JobProgress()}
    return Job.model_validate({**common, **asked, **unknown, **known})


def stream(*messages: str) -> Answer:
    content = "".join(f"{message}\n\n" for message in messages)
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return lambda: httpx2.Response(200, headers=headers, content=content.encode())


def raising(error: httpx2.TransportError) -> Answer:
    def answer() -> httpx2.Response:
        raise error

    return answer


def news(status: str) -> str:
    said = JobNews(id=JOB, status=status, phase="waiting", progress=JobProgress())
    return f"event: progress\ndata: {said.model_dump_json()}"


def event(number: int) -> str:
    said = JobEvent(id=f"ftevent-{number}", created_at=0, level="info", type="message", message="m", data={"type": "x"})
    return f"id: {said.id}\ndata: {said.model_dump_json()}"


DONE = "data: [DONE]"
LOST = raising(httpx2.ConnectError("nobody listens"))


def followed(script: Script) -> list[str]:
    """The statuses that both clients tell of the scripted server; they ask alike."""

    async def use() -> list[Told]:
        async with AsyncClient("http://nowhere", transport=httpx2.MockTransport(again)) as client:
            return [one async for one in client.follow(JOB)]

    again = script.copy()
    with Client("http://nowhere", transport=httpx2.MockTransport(script)) as client:
        told = list(client.follow(JOB))
    later = asyncio.run(use())
    assert later == told and again.asked == script.asked
    return statuses(told)


def test_a_job_is_followed_by_its_stream_to_its_end(live: Live, job: str) -> None:
    with Client(live.url, api_key=live.key, transport=(asked := Cutting())) as client:
        reader = client.follow(job)
        told = [next(reader), next(reader)]
        claim(live)
        told += [next(reader), next(reader)]
        fail(live, job)
        told += reader
    assert types(told) == ["submitted", "claimed", "failed"] and statuses(told) == ["queued", "running", "failed"]
    assert asked.paths == [stream_of(job)]


def test_an_awaited_client_follows_and_waits_alike(live: Live, job: str) -> None:
    async def use() -> tuple[list[Told], Job]:
        async with AsyncClient(live.url, api_key=live.key) as client:
            told = list[Told]()
            async with aclosing(client.follow(job)) as reader:
                async for one in reader:
                    told.append(one)
                    if isinstance(one, JobNews) and one.status == "queued":
                        claim(live)
                        fail(live, job)
            return told, await client.wait(job)

    told, ended = asyncio.run(use())
    assert types(told) == ["submitted", "claimed", "failed"] and statuses(told)[-1] == ended.status == "failed"


def test_a_wait_reads_the_stream_and_asks_for_the_job_once(live: Live, job: str) -> None:
    seen = list[str]()

    def look(at: JobNews) -> None:
        seen.append(at.status)
        if at.status == "queued":
            claim(live)
            fail(live, job)

    with Client(live.url, api_key=live.key, transport=(asked := Cutting())) as client:
        assert client.wait(job, on_progress=look, timeout_seconds=60).status == "failed"
    assert (seen[0], seen[-1]) == ("queued", "failed") and asked.paths == [stream_of(job), f"/v1/jobs/{job}"]


def test_a_stream_that_breaks_is_gone_on_with_behind_the_last_event(live: Live, job: str) -> None:
    claim(live)
    with Client(live.url, api_key=live.key, transport=(asked := Cutting(1, 1))) as client:
        reader = client.follow(job)
        told = [next(reader), next(reader), next(reader)]
        fail(live, job)
        told += reader
    ids = [one.id for one in told if isinstance(one, JobEvent)]
    assert types(told) == ["submitted", "claimed", "failed"] and len(set(ids)) == 3
    assert asked.last_event_ids == [None, ids[0], ids[1]] and set(asked.paths) == {stream_of(job)}


def test_a_stream_that_is_refused_gives_way_to_looks(live: Live, job: str) -> None:
    with Client(live.url, api_key=live.key, transport=(asked := Cutting())) as client:
        other = client.any_event_stream(job)
        next(other)
        with pytest.raises(ApiError) as caught:
            next(client.any_event_stream(job))
        assert caught.value.code == "overloaded"
        reader = client.follow(job)
        assert statuses([next(reader)]) == ["queued"]
        claim(live)
        fail(live, job)
        assert statuses(list(reader)) == ["failed"]
        other.close()
    assert asked.paths == [stream_of(job)] * 3 + [f"/v1/jobs/{job}"] * 2


def test_a_job_that_is_not_there_is_told_as_such(live: Live) -> None:
    with Client(live.url, api_key=live.key) as client, pytest.raises(ApiError) as caught:
        client.wait(JOB)
    assert (caught.value.status, caught.value.code) == (404, "not_found")


def test_who_is_not_let_in_any_more_hears_of_it(live: Live, job: str) -> None:
    with Client(live.url, api_key=live.key) as admin:
        made = admin.create_key(ApiKeyCreate(name="reader", scopes=["read"]))
        with Client(live.url, api_key=made.secret) as client, pytest.raises(ApiError) as caught:
            for told in client.follow(job):
                if isinstance(told, JobNews):
                    admin.delete_key(made.id)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_a_gateway_that_is_started_again_is_waited_for() -> None:
    back = Script(stream(event(1), news("running")), LOST, LOST, stream(news("failed"), DONE))
    assert followed(back) == ["running", "failed"] and back.asked == ["stream"] * 4


def test_a_gateway_that_was_never_there_is_not() -> None:
    gone = httpx2.MockTransport(lambda _: LOST())
    with Client("http://nowhere", transport=gone) as client:
        began = time.monotonic()
        with pytest.raises(httpx2.ConnectError):
            client.wait(JOB)
        assert time.monotonic() - began < FIRST_PAUSE_SECONDS


@pytest.mark.parametrize(
    "none",
    [
        lambda: httpx2.Response(404, json={"error": {"code": "not_found", "message": "no such route"}}),
        lambda: httpx2.Response(200, text="<html>"),
        raising(httpx2.ReadTimeout("a proxy keeps all of it")),
        stream("data: {}"),
    ],
    ids=["refused", "no stream", "silent", "of another version"],
)
def test_where_there_is_no_stream_the_job_is_looked_at(none: Answer) -> None:
    script = Script(none, statuses=["queued", "failed"])
    assert followed(script) == ["queued", "failed"] and script.asked == ["stream", "job", "job"]


def test_messages_that_a_later_gateway_may_send_are_skipped() -> None:
    script = Script(stream(": ping", "event: weather\ndata: rain", news("succeeded"), DONE))
    assert followed(script) == ["succeeded"] and script.asked == ["stream"]


def test_nothing_is_waited_for_behind_a_deadline() -> None:
    script = Script(statuses=["queued"] * 1_000)
    with (
        Client("http://nowhere", transport=httpx2.MockTransport(script)) as client,
        pytest.raises(TimeoutError, match="still queued"),
    ):
        client.wait(JOB, timeout_seconds=0.2)
    assert set(script.asked) == {"job"}


def test_a_stream_is_left_at_its_time_with_the_next_thing_that_comes(live: Live, job: str) -> None:
    with Client(live.url, api_key=live.key) as client:
        told = list[Told]()
        with pytest.raises(httpx2.RemoteProtocolError, match="before the job did"):
            told.extend(client.any_event_stream(job, until=time.monotonic()))
    assert types(told) in ([], ["submitted"])
