"""The gateway from Python: a method a route, typed answers, `ApiError` for everything else; blocking, or awaited.

The methods are the rows of `service.client_routes`; here stands only how a request is sent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from service.client_requests import ATTEMPTS, CountedFile, Pages, Request, is_loopback, pause_seconds
from service.client_routes import Routes
from service.schemas.embeddings import Embeddings
from service.schemas.job_answers import Job
from service.schemas.jobs import JobCreate
from service.schemas.models import ModelObject
from service.schemas.strict import Answer
from service.schemas.vectors import from_base64

ENDED = ("succeeded", "failed", "cancelled")

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
        how = _connection(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._http = httpx2.Client(transport=transport, **how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Its connections are closed."""
        self._http.close()

    def perform(self, request: Request[A]) -> A:
        """The answer; a busy server is asked again when it says, if the request changes nothing.

        Raises:
            ApiError: the answer is an error.
        """
        attempts = ATTEMPTS if request.repeatable else 1
        while True:
            attempts -= 1
            with ExitStack() as opened:
                got = self._http.request(request.method, request.url, **_arguments(request, opened))
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

    def wait(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], None] = lambda _: None,
        poll_seconds: float = 0.5,
        timeout_seconds: float = float("inf"),
    ) -> Job:
        """The job, once it has ended; `on_progress` sees it at every look.

        Raises:
            TimeoutError: it has not ended in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not _ended(job := self.any_job(id), deadline, on_progress=on_progress):
            time.sleep(poll_seconds)
        return job

    def estimate(self, asked: JobCreate) -> Job:
        """A job waits that will say what the training would take."""
        return self.any_job(self.order_estimate(asked).job)

    def models(self, *, metadata: Mapping[str, str] | None = None) -> list[ModelObject]:
        """Base models, and the tuned ones, newest first; or those that have all of this metadata."""
        return list(self.every_model(metadata=metadata))

    def embed(self, texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT) -> NDArray[np.float32]:
        """The unit vectors of up to 2,048 texts; (n, D)."""
        return _vectors(self.embeddings(texts, model=model, side=side))


class AsyncClient(Routes):
    """The same, awaited: lists are `async for`, everything else is `await`."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 300.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        how = _connection(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._http = httpx2.AsyncClient(transport=transport, **how)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    async def perform(self, request: Request[A]) -> A:
        """The answer; a busy server is asked again when it says, if the request changes nothing.

        Raises:
            ApiError: the answer is an error.
        """
        attempts = ATTEMPTS if request.repeatable else 1
        while True:
            attempts -= 1
            with ExitStack() as opened:
                arguments = _arguments(request, opened)
                if request.sent.lines is not None:
                    arguments["content"] = _later(request.sent.lines)
                got = await self._http.request(request.method, request.url, **arguments)
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

    async def wait(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], None] = lambda _: None,
        poll_seconds: float = 0.5,
        timeout_seconds: float = float("inf"),
    ) -> Job:
        """The job, once it has ended; `on_progress` sees it at every look.

        Raises:
            TimeoutError: it has not ended in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not _ended(job := await self.any_job(id), deadline, on_progress=on_progress):
            await asyncio.sleep(poll_seconds)
        return job

    async def estimate(self, asked: JobCreate) -> Job:
        """A job waits that will say what the training would take."""
        return await self.any_job((await self.order_estimate(asked)).job)

    async def models(self, *, metadata: Mapping[str, str] | None = None) -> list[ModelObject]:
        """Base models, and the tuned ones, newest first; or those that have all of this metadata."""
        return [model async for model in self.every_model(metadata=metadata)]

    async def embed(self, texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT) -> NDArray[np.float32]:
        """The unit vectors of up to 2,048 texts; (n, D)."""
        return _vectors(await self.embeddings(texts, model=model, side=side))


def _connection(base_url: str, *, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    """How both clients reach the gateway."""
    return {
        "base_url": base_url,
        "headers": {} if api_key is None else {"authorization": f"Bearer {api_key}"},
        "timeout": timeout_seconds,
        "trust_env": not is_loopback(base_url),  # no proxy of the environment can reach this machine's loopback
    }


def _arguments(request: Request[Any], opened: ExitStack) -> dict[str, Any]:
    """The request in httpx's words; a file of it is open as long as `opened` is."""
    sent = request.sent
    if sent.path is not None:
        file = opened.enter_context(CountedFile(sent.path, sent.on_bytes))
        return {"params": request.params, "files": {sent.form_name: (sent.path.name, file)}, "data": sent.form}
    if sent.lines is not None:
        headers = {"content-type": "application/x-ndjson"}
        return {"params": request.params, "content": sent.lines, "headers": headers}
    return {"params": request.params} if sent.body is None else {"params": request.params, "json": sent.body}


def _ended(job: Job, deadline: float, *, on_progress: Callable[[Job], None]) -> bool:
    """Whether there is nothing to wait for; `on_progress` has seen it.

    Raises:
        TimeoutError: the deadline is over.
    """
    on_progress(job)
    if job.status in ENDED:
        return True
    if time.monotonic() > deadline:
        raise TimeoutError(f"job {job.id} is still {job.status} when its time is over")
    return False


def _vectors(answer: Embeddings) -> NDArray[np.float32]:
    return np.stack([from_base64(str(item.embedding)) for item in answer.data])


async def _later(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line
