"""A job as a reader follows it: its stream, gone on with where it broke, and looks at the job where there is none.

What stands here reads and decides; both clients do the asking and the waiting, each in its way.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import httpx2
from pydantic import ValidationError

from service.client_requests import Sent, checked, unknown
from service.errors import ApiError
from service.schemas.job_answers import Job, JobEvent, JobNews

ENDED: Final = ("succeeded", "failed", "cancelled")
STREAM_TIMEOUT: Final = httpx2.Timeout(10.0, read=30.0)
"""Of a stream, in seconds; a gateway that has nothing to tell says so every 15."""
FIRST_PAUSE_SECONDS: Final = 0.5
"""Behind a break; doubled each time: a gateway that is started again has 7.5 s until it is given up."""

_SILENCE_SECONDS = 15.0
_RESUMES = 4
_POLL_SECONDS = 0.5
_LAST = "[DONE]"

Told = JobEvent | JobNews
"""What happened to a job, or how it is now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A stream that is asked for."""

    url: str
    sent: Sent

    @property
    def headers(self) -> dict[str, str]:
        """Its own ones."""
        own = {name: value for name, value in self.sent.headers.items() if value is not None}
        return {"accept": "text/event-stream", **own}

    def messages(self, got: httpx2.Response) -> httpx2.EventSource:
        """Those of the answer, as they come and until the stream is left."""
        return _messages(got, _before(got.iter_bytes(), self.sent.until))

    def later_messages(self, got: httpx2.Response) -> httpx2.EventSource:
        """The same for a client that is awaited."""
        return _messages(got, _later_before(got.aiter_bytes(), self.sent.until))


@dataclass(kw_only=True, slots=True)
class Following:
    """How far a reader of a job is, and how it goes on."""

    id: str
    poll_seconds: float | None
    """How often it looks; None where it would rather read the stream."""
    deadline: float
    """As `time.monotonic` tells it."""
    status: str = "not looked at"
    seen: str | None = None
    """The id of the last event."""
    num_breaks: int = 0
    """Since the stream told something."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self.status in ENDED

    @property
    def until(self) -> float:
        """When a stream is left: nothing is waited for there that could come behind the deadline."""
        return self.deadline - _SILENCE_SECONDS - 1.0

    @property
    def by_stream(self) -> bool:
        """Whether the stream is asked for next, rather than the job."""
        return self.poll_seconds is None and self.num_breaks <= _RESUMES and time.monotonic() < self.until

    def heard(self, told: Told) -> Told:
        """The stream told that."""
        self.num_breaks = 0
        if isinstance(told, JobNews):
            self.status = told.status
        else:
            self.seen = told.id
        return told

    def looked(self, job: Job) -> JobNews:
        """The job is so; it is told as the stream would."""
        self.status = job.status
        return JobNews(id=job.id, status=job.status, phase=job.phase, progress=job.progress)

    def broke(self, error: ApiError | httpx2.TransportError) -> float:
        """For how many seconds not to ask; a stream that is refused, or never told anything, is not asked for again."""
        never = self.seen is None and self.status == "not looked at"
        lost = never or isinstance(error, ApiError | httpx2.SSEError)
        self.num_breaks = _RESUMES + 1 if lost else self.num_breaks + 1
        return 0.0 if lost else FIRST_PAUSE_SECONDS * 2.0 ** (self.num_breaks - 1)

    def pause(self, seconds: float | None = None) -> float:
        """The seconds until it goes on, those between two looks if nothing else is said.

        Raises:
            TimeoutError: the deadline is over, and the job has not ended.
        """
        left = self.deadline - time.monotonic()
        if self.ended:
            return 0.0
        if left < 0:
            raise TimeoutError(f"job {self.id} is still {self.status} when its time is over")
        wanted = (_POLL_SECONDS if self.poll_seconds is None else self.poll_seconds) if seconds is None else seconds
        return min(wanted, left)


def require_stream(got: httpx2.Response) -> None:
    """Raise `ApiError` with what the answer says, whose body was read, if there is no stream."""
    if not got.is_success:
        checked(got)


def is_last(message: httpx2.ServerSentEvent) -> bool:
    """Whether the job has ended and all was told."""
    return message.data == _LAST


def told(got: httpx2.Response, message: httpx2.ServerSentEvent) -> Iterator[Told]:
    """What a message says; nothing if it is of a kind that this version does not know.

    Raises:
        ApiError: it is not what was expected.
    """
    kinds: dict[str, type[Told]] = {"message": JobEvent, "progress": JobNews}
    if (kind := kinds.get(message.event)) is None:
        return
    try:
        yield kind.model_validate_json(message.data)
    except ValidationError as error:
        raise unknown(got, message.data, error=error) from None


def cut(got: httpx2.Response) -> httpx2.RemoteProtocolError:
    """What is raised where a stream has ended and the job has not."""
    return httpx2.RemoteProtocolError("the stream ended before the job did", request=got.request)


def _messages(got: httpx2.Response, chunks: Iterator[bytes] | AsyncIterator[bytes]) -> httpx2.EventSource:
    headers = {"content-type": got.headers.get("content-type", "")}
    return httpx2.EventSource(httpx2.Response(got.status_code, headers=headers, content=chunks, request=got.request))


def _before(chunks: Iterator[bytes], until: float) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        if time.monotonic() >= until:
            return


async def _later_before(chunks: AsyncIterator[bytes], until: float) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
        if time.monotonic() >= until:
            return
