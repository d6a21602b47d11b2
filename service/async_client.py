"""The gateway from Python, awaited: `service.client` says all that the two have in common."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import httpx2
import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from service.client_requests import ATTEMPTS, Pages, Request, pause_seconds
from service.client_routes import Routes
from service.client_sending import Saving, arguments, connection, later, vectors_of
from service.client_streams import STREAM_TIMEOUT, Following, Stream, Told, cut, is_last, require_stream, told
from service.errors import ApiError
from service.schemas.job_answers import Job, JobNews
from service.schemas.jobs import JobCreate
from service.schemas.models import ModelObject
from service.schemas.strict import Answer

A = TypeVar("A")
E = TypeVar("E", bound=Answer)


class AsyncClient(Routes):
    """Speaks to one gateway: lists and streams are `async for`, everything else is `await`."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 300.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        how = connection(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._http = httpx2.AsyncClient(transport=transport, **how)
        self._key: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    def once(self, key: str) -> Self:
        """The same client, each of whose POSTs is done once under this `Idempotency-Key`, however often it is sent.

        It is for one change: to send another body to a route under the same key is a conflict. Both share connections.
        """
        other = copy(self)
        other._key = key
        return other

    async def perform(self, request: Request[A]) -> A:
        """The answer; a busy server is asked again when it says, if the request may be repeated.

        Raises:
            ApiError: the answer is an error.
        """
        request = request.under(self._key)
        attempts = ATTEMPTS if request.repeatable else 1
        while True:
            attempts -= 1
            with ExitStack() as opened:
                how = arguments(request, opened)
                if request.sent.lines is not None:
                    how["content"] = later(request.sent.lines)
                async with self._http.stream(request.method, request.url, **how) as got:
                    if request.sent.into is not None and got.is_success:
                        return cast("A", await self._saved(got, request.sent.into, on_bytes=request.sent.on_bytes))
                    await got.aread()
            seconds = pause_seconds(got)
            if seconds is None or not attempts:
                return request.read(got)
            await asyncio.sleep(seconds)

    async def iterate(self, pages: Pages[E]) -> AsyncIterator[E]:
        """Every element of a list, one window after another."""
        after: str | None = None
        while True:
            page = await self.perform(pages.request(after))
            for element in page.data:
                yield element
            if (after := page.next_after) is None:
                return

    async def listen(self, stream: Stream) -> AsyncGenerator[Told, None]:
        """Every message of a stream, as it comes, until the job has ended.

        Raises:
            ApiError: there is no such stream, or it may not be read.
            httpx2.TransportError: it broke.
        """
        async with self._http.stream("GET", stream.url, headers=stream.headers, timeout=STREAM_TIMEOUT) as got:
            if not got.is_success:
                await got.aread()
            require_stream(got)
            async for message in stream.later_messages(got):
                if is_last(message):
                    return
                for one in told(got, message):
                    yield one
            raise cut(got)

    async def follow(
        self, id: str, *, poll_seconds: float | None = None, timeout_seconds: float = math.inf
    ) -> AsyncGenerator[Told, None]:
        """What has happened to the job, what happens, and in between how it is (`JobNews`), until it has ended.

        As `Client.follow` does.

        Raises:
            ApiError: there is no such job, or it may not be read.
            TimeoutError: it has not ended in time.
        """
        at = Following(id=id, poll_seconds=poll_seconds, deadline=time.monotonic() + timeout_seconds)
        while not at.ended:
            seconds = None
            if at.by_stream:
                try:
                    async with aclosing(self.any_event_stream(id, last_event_id=at.seen, until=at.until)) as stream:
                        async for one in stream:
                            yield at.heard(one)
                    return
                except (ApiError, httpx2.TransportError) as error:
                    seconds = at.broke(error)
            else:
                yield at.looked(await self.any_job(id))
            await asyncio.sleep(at.pause(seconds))

    async def wait(
        self,
        id: str,
        *,
        on_progress: Callable[[JobNews], None] = lambda _: None,
        poll_seconds: float | None = None,
        timeout_seconds: float = math.inf,
    ) -> Job:
        """The job, once it has ended; `on_progress` sees it whenever it has changed, or at every look.

        Raises:
            TimeoutError: it has not ended in time.
        """
        async with aclosing(self.follow(id, poll_seconds=poll_seconds, timeout_seconds=timeout_seconds)) as followed:
            async for one in followed:
                if isinstance(one, JobNews):
                    on_progress(one)
        return await self.any_job(id)

    async def estimate(self, asked: JobCreate) -> Job:
        """A job waits that will say what the training would take."""
        return await self.any_job((await self.order_estimate(asked)).job)

    async def models(self, *, metadata: Mapping[str, str] | None = None) -> list[ModelObject]:
        """Base models, and the tuned ones, newest first; or those that have all of this metadata."""
        return [model async for model in self.every_model(metadata=metadata)]

    async def embed(self, texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT) -> NDArray[np.float32]:
        """The unit vectors of up to 2,048 texts; (n, D)."""
        return vectors_of(await self.embeddings(texts, model=model, side=side))

    async def _saved(self, got: httpx2.Response, path: Path, *, on_bytes: Callable[[int], None]) -> Path:
        with Saving(got, path, on_bytes=on_bytes) as file:
            async for chunk in got.aiter_bytes():
                file.add(chunk)
        return path
