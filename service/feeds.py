"""Jobs that are watched: what is new of all of them is read together, once a tick, and shared by all their readers.

Several gateways work on one database, so that what happened stands there alone. A reader holds nothing but the number
of the last event that it was given: one that takes nothing costs the buffers of its connection, which `guard.py` keeps
small and in the end cuts, and one that has fallen behind finds in the database what it missed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from fastapi.sse import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.errors import Unavailable
from service.schemas.job_answers import JobEvent, JobNews
from service.store import events, jobs, watched
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import EventRecord, Page
from service.store.waiting import queue_positions
from service.store.watched import JobState

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.25  # a worker writes what its child says within half a second: together less than one
EVENT_PREFIX: Final = "ftevent-"

_NUM_SHARED = 64  # events of a job that are kept for all its readers: more than come in a tick
_NUM_GIVEN = 8  # to one reader at once: it holds them until they are on their way
_NUM_NEWS = 1_000  # of all jobs in a tick; what is beyond comes with the next
_NUM_TOGETHER = 100  # jobs in one question
_NUM_THREADS = 2  # of our own, one to poll and one for who is behind: readers take none from requests

T = TypeVar("T")
Numbered = tuple[int, ServerSentEvent]


class Feed:
    """One job as its readers see it."""

    def __init__(self, state: JobState, *, news: ServerSentEvent, newest: int) -> None:
        self.state = state
        self.news = news
        """How the job is, as it is told."""
        self.newest = newest
        """The number of its last event that was read, or that lies before all that will be."""
        self.num_readers = 0
        self.changed = asyncio.Event()
        """Set once there is something new; then another one stands here."""
        self._before = newest
        self._events: deque[Numbered] = deque(maxlen=_NUM_SHARED)

    def after(self, number: int) -> list[Numbered] | None:
        """The next events behind that one; None if they are not here."""
        if number < self._before:
            return None
        return list(islice((event for event in self._events if event[0] > number), _NUM_GIVEN))

    def add(self, event: EventRecord) -> None:
        """The event is the newest one."""
        if len(self._events) == _NUM_SHARED:
            self._before = self._events[0][0]
        self._events.append(_told(event))
        self.newest = event.id

    def wake(self) -> None:
        """Every reader looks again."""
        told, self.changed = self.changed, asyncio.Event()
        told.set()


class Feeds:
    """All watched jobs of a process; used by one event loop."""

    def __init__(self, database: Database, *, max_readers: int, key_seconds: float) -> None:
        self._database = database
        self._max_readers = max_readers
        self._key_seconds = key_seconds
        self._num_readers = 0
        self._feeds: dict[str, Feed] = {}
        self._poller: asyncio.Task[None] | None = None
        self._catching_up = asyncio.Semaphore(1)
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="feeds")

    @asynccontextmanager
    async def watching(
        self, project: str, id: str, *, after: int, still_good: Callable[[], bool]
    ) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        """What happened to the job behind that event, then what happens, as it happens; in the end `[DONE]`.

        Without that it ends once `still_good`, which is asked in a thread from time to time, says that the reader may
        not be told any more.

        Raises:
            NotFound: the project has no such job.
            Unavailable: as many are read as may be (`overloaded`).
        """
        if self._num_readers >= self._max_readers:
            message = f"{self._max_readers} streams are read; close one, or ask for the events from time to time"
            raise Unavailable("overloaded", message)
        self._num_readers += 1
        try:
            state, news, newest = await run_in_threadpool(self._first, project, id)
            feed = self._feeds.setdefault(id, Feed(state, news=news, newest=newest))
            feed.num_readers += 1
            if self._poller is None or self._poller.done():
                self._poller = asyncio.create_task(self._poll())
            try:
                yield self._read(id, feed, after=after, still_good=still_good)
            finally:
                feed.num_readers -= 1
                if not feed.num_readers:
                    del self._feeds[id]
        finally:
            self._num_readers -= 1

    def close(self) -> None:
        """Nothing is read any more."""
        if self._poller is not None:
            self._poller.cancel()
        self._threads.shutdown(cancel_futures=True)

    async def _read(
        self, id: str, feed: Feed, *, after: int, still_good: Callable[[], bool]
    ) -> AsyncIterator[ServerSentEvent]:
        shown: ServerSentEvent | None = None
        clock = asyncio.get_running_loop().time
        look_at = clock() + self._key_seconds
        while True:
            if clock() >= look_at:
                if not await self._in_thread(still_good):
                    return
                look_at = clock() + self._key_seconds
            changed, fresh = feed.changed, feed.after(after)
            if fresh is None:
                async with self._catching_up:
                    fresh = await self._in_thread(partial(self._missed, id, after))
            for number, event in fresh:
                after = number
                yield event
            if fresh:
                continue
            if feed.news is not shown:
                shown = feed.news
                yield shown
                continue
            if feed.state.ended:
                yield ServerSentEvent(raw_data="[DONE]")
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), look_at - clock())

    async def _poll(self) -> None:
        """While somebody reads, every feed is at most a tick and a question behind."""
        while self._feeds:
            await asyncio.sleep(TICK_SECONDS)
            open_feeds = {id: feed for id, feed in self._feeds.items() if not feed.state.ended}
            seen = {id: feed.newest for id, feed in open_feeds.items()}
            for part in _parts(seen):
                try:
                    fresh, found = await self._in_thread(partial(self._news, part))
                except StoreError as error:
                    log.warning("watched jobs cannot be read just now: %s", error)
                    continue
                _publish(open_feeds, fresh, found=found)

    def _first(self, project: str, id: str) -> tuple[JobState, ServerSentEvent, int]:
        with self._database.read() as tx:
            jobs.get(tx, project, id=id)
            state = watched.states(tx, [id])[id]
            return state, _news(state, queue_positions(tx, [state]).get(id)), events.newest(tx, id)

    def _missed(self, id: str, after: int) -> list[Numbered]:
        with self._database.read() as tx:
            window = Page(after=str(after), limit=_NUM_GIVEN, descending=False)
            return [_told(event) for event in events.page(tx, id, page=window)[0]]

    def _news(self, seen: Mapping[str, int]) -> tuple[list[EventRecord], dict[str, tuple[JobState, ServerSentEvent]]]:
        """New events, and how the jobs are; the latter only where no event is left out, for `[DONE]` comes last."""
        with self._database.read() as tx:
            fresh = events.since(tx, seen, limit=_NUM_NEWS)
            found = list(watched.states(tx, seen).values()) if len(fresh) < _NUM_NEWS else []
            places = queue_positions(tx, found)
        return fresh, {state.id: (state, _news(state, places.get(state.id))) for state in found}

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _parts(seen: Mapping[str, int]) -> list[dict[str, int]]:
    ids = list(seen)
    return [{id: seen[id] for id in ids[at : at + _NUM_TOGETHER]} for at in range(0, len(ids), _NUM_TOGETHER)]


def _publish(
    feeds: Mapping[str, Feed], fresh: Sequence[EventRecord], *, found: Mapping[str, tuple[JobState, ServerSentEvent]]
) -> None:
    """Every reader of a feed that has something new looks again."""
    changed = {event.job_id for event in fresh}
    for event in fresh:
        feeds[event.job_id].add(event)
    for id, (state, news) in found.items():
        feed = feeds[id]
        feed.state = state
        if news != feed.news:
            feed.news = news
            changed.add(id)
    for id in changed:
        feeds[id].wake()


def _told(event: EventRecord) -> Numbered:
    return event.id, ServerSentEvent(id=f"{EVENT_PREFIX}{event.id}", raw_data=JobEvent.of(event).model_dump_json())


def _news(state: JobState, queue_position: int | None) -> ServerSentEvent:
    """It has no number: who comes again goes on behind the last event, and is told how the job is by then."""
    return ServerSentEvent(event="progress", raw_data=JobNews.of(state, queue_position).model_dump_json())
