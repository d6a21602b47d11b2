"""The gateway from Python: a method a route, typed answers, `ApiError` for everything else; blocking, or awaited.

The methods are the rows of `service.client_routes`; here stands only how a request is sent.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import httpx2
import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from service.async_client import AsyncClient
from service.client_requests import ATTEMPTS, Pages, Request, pause_seconds
from service.client_routes import Routes
from service.client_sending import Saving, arguments, connection, vectors_of
from service.client_streams import STREAM_TIMEOUT, Following, Stream, Told, cut, is_last, require_stream, told
from service.errors import ApiError
from service.schemas.job_answers import Job, JobNews
from service.schemas.jobs import JobCreate
from service.schemas.models import ModelObject
from service.schemas.strict import Answer

__all__ = ["AsyncClient", "Client"]

A = TypeVar("A")
E = TypeVar("E", bound=Answer)


class Client(Routes):
    """Speaks to one gateway; close it, or use it as a context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 300.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        how = connection(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._http = httpx2.Client(transport=transport, **how)
        self._key: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Its connections are closed."""
        self._http.close()

    def once(self, key: str) -> Self:
        """The same client, each of whose POSTs is done once under this `Idempotency-Key`, however often it is sent.

        It is for one change: to send another body to a route under the same key is a conflict. Both share connections.
        """
        other = copy(self)
        other._key = key
        return other

    def perform(self, request: Request[A]) -> A:
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
                got = opened.enter_context(self._http.stream(request.method, request.url, **how))
                if request.sent.into is not None and got.is_success:
                    return cast("A", self._saved(got, request.sent.into, on_bytes=request.sent.on_bytes))
                got.read()
            seconds = pause_seconds(got)
            if seconds is None or not attempts:
                return request.read(got)
            time.sleep(seconds)

    def iterate(self, pages: Pages[E]) -> Iterator[E]:
        """Every element of a list, one window after another."""
        after: str | None = None
        while True:
            page = self.perform(pages.request(after))
            yield from page.data
            if (after := page.next_after) is None:
                return

    def listen(self, stream: Stream) -> Generator[Told, None, None]:
        """Every message of a stream, as it comes, until the job has ended.

        Raises:
            ApiError: there is no such stream, or it may not be read.
            httpx2.TransportError: it broke.
        """
        with self._http.stream("GET", stream.url, headers=stream.headers, timeout=STREAM_TIMEOUT) as got:
            if not got.is_success:
                got.read()
            require_stream(got)
            for message in stream.messages(got):
                if is_last(message):
                    return
                yield from told(got, message)
            raise cut(got)

    def follow(
        self, id: str, *, poll_seconds: float | None = None, timeout_seconds: float = math.inf
    ) -> Generator[Told, None, None]:
        """What has happened to the job, what happens, and in between how it is (`JobNews`), until it has ended.

        A stream that breaks is gone on with behind the event that came last. Where there is none, or if `poll_seconds`
        is given, the job is looked at so often instead, and only how it is is told.

        Raises:
            ApiError: there is no such job, or it may not be read.
            TimeoutError: it has not ended in time.
        """
        at = Following(id=id, poll_seconds=poll_seconds, deadline=time.monotonic() + timeout_seconds)
        while not at.ended:
            seconds = None
            if at.by_stream:
                try:
                    for one in self.any_event_stream(id, last_event_id=at.seen, until=at.until):
                        yield at.heard(one)
                    return
                except (ApiError, httpx2.TransportError) as error:
                    seconds = at.broke(error)
            else:
                yield at.looked(self.any_job(id))
            time.sleep(at.pause(seconds))

    def wait(
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
        with closing(self.follow(id, poll_seconds=poll_seconds, timeout_seconds=timeout_seconds)) as followed:
            for one in followed:
                if isinstance(one, JobNews):
                    on_progress(one)
        return self.any_job(id)

    def estimate(self, asked: JobCreate) -> Job:
        """A job waits that will say what the training would take."""
        return self.any_job(self.order_estimate(asked).job)

    def models(self, *, metadata: Mapping[str, str] | None = None) -> list[ModelObject]:
        """Base models, and the tuned ones, newest first; or those that have all of this metadata."""
        return list(self.every_model(metadata=metadata))

    def embed(self, texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT) -> NDArray[np.float32]:
        """The unit vectors of up to 2,048 texts; (n, D)."""
        return vectors_of(self.embeddings(texts, model=model, side=side))

    def _saved(self, got: httpx2.Response, path: Path, *, on_bytes: Callable[[int], None]) -> Path:
        with Saving(got, path, on_bytes=on_bytes) as file:
            for chunk in got.iter_bytes():
                file.add(chunk)
        return path
