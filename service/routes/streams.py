"""What happens to a job, told as it happens: server-sent events."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.callers import KEY_FIRST, Project, StillGood
from service.dependencies import Parts
from service.errors import ServiceError
from service.feeds import EVENT_PREFIX
from service.routes.jobs import TUNING, JobId, TuningId

router = APIRouter(tags=["jobs"], dependencies=KEY_FIRST)
Stream = AsyncIterator[ServerSentEvent]

_EVENT_ID: Final = re.compile(EVENT_PREFIX + r"(\d{1,15})", re.ASCII)


async def last_event(
    last_event_id: Annotated[str | None, Header(max_length=200, description="of the last event that was seen")] = None,
) -> int:
    """The number of the event behind which the stream begins; 0 is before all.

    Raises:
        ServiceError: it is no event's id.
    """
    if last_event_id is None:
        return 0
    if (found := _EVENT_ID.fullmatch(last_event_id)) is None:
        raise ServiceError("bad_cursor", "Last-Event-ID is not the id of an event", param="Last-Event-ID")
    return int(found[1])


LastEvent = Annotated[int, Depends(last_event)]


async def tuning_stream(
    id: TuningId, parts: Parts, project: Project, after: LastEvent, still_good: StillGood
) -> AsyncIterator[Stream]:
    """What happens to a training job; nobody reads it any more once the request has ended."""
    async with parts.feeds.watching(project, id, after=after, still_good=still_good) as stream:
        yield stream


async def job_stream(
    id: JobId, parts: Parts, project: Project, after: LastEvent, still_good: StillGood
) -> AsyncIterator[Stream]:
    """The same of a job of any kind."""
    async with parts.feeds.watching(project, id, after=after, still_good=still_good) as stream:
        yield stream


@router.get(TUNING + "/{id}/events/stream", response_class=EventSourceResponse)
async def stream_tuning(stream: Annotated[Stream, Depends(tuning_stream)]) -> AsyncIterator[ServerSentEvent]:
    """All events of a training job, oldest first, each as it happens, and between them how far the job is.

    A message without a name is an event as `/events` lists it; `progress` is the status, the phase and the progress of
    this moment. `Last-Event-ID` goes on behind that event. The last message is `[DONE]`: the job has ended. Where it is
    missing, the connection broke, or the key does not count any more.
    """
    async for message in stream:
        yield message


@router.get("/v1/jobs/{id}/events/stream", response_class=EventSourceResponse)
async def stream_job(stream: Annotated[Stream, Depends(job_stream)]) -> AsyncIterator[ServerSentEvent]:
    """The same of a job of any kind."""
    async for message in stream:
        yield message
