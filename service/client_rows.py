"""The rows of the table in `service.client_routes`: a route, how a call's arguments are sent, and what comes back.

They are descriptors: read from a client, a row is a method of that client, with the arguments and the answer that the
row says.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload
from urllib.parse import quote

from service.client_requests import Pages, Request, Sent
from service.client_streams import Stream, Told
from service.schemas.strict import Answer

P = ParamSpec("P")
A = TypeVar("A")
E = TypeVar("E", bound=Answer)


class Sends(Protocol):
    """A client that blocks."""

    def perform(self, request: Request[A]) -> A:
        """The answer."""

    def iterate(self, pages: Pages[E]) -> Iterator[E]:
        """Every element."""

    def listen(self, stream: Stream) -> Generator[Told, None, None]:
        """Every message."""


class SendsLater(Protocol):
    """A client that is awaited."""

    def perform(self, request: Request[A]) -> Awaitable[A]:
        """The answer."""

    def iterate(self, pages: Pages[E]) -> AsyncIterator[E]:
        """Every element."""

    def listen(self, stream: Stream) -> AsyncGenerator[Told, None]:
        """Every message."""


class Call(Generic[P, A]):
    """A row: a route that answers once."""

    def __init__(self, method: str, path: str, *, sent: Callable[P, Sent], answer: type[A]) -> None:
        self.method = method
        self.path = path
        self.sent = sent
        self._answer = answer

    @overload
    def __get__(self, client: Sends, owner: type) -> Callable[P, A]: ...
    @overload
    def __get__(self, client: SendsLater, owner: type) -> Callable[P, Awaitable[A]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """The method of that client."""

        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            sent = self.sent(*arguments, **named)
            url = _filled(self.path, sent.places)
            return client.perform(Request(method=self.method, url=url, sent=sent, answer=self._answer))

        return call


class Listed(Generic[P, E]):
    """A row: a route that lists, and what it lists."""

    method = "GET"

    def __init__(self, path: str, *, sent: Callable[P, Sent], element: type[E]) -> None:
        self.path = path
        self.sent = sent
        self._element = element

    @overload
    def __get__(self, client: Sends, owner: type) -> Callable[P, Iterator[E]]: ...
    @overload
    def __get__(self, client: SendsLater, owner: type) -> Callable[P, AsyncIterator[E]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """The method of that client."""

        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            sent = self.sent(*arguments, **named)
            return client.iterate(Pages(url=_filled(self.path, sent.places), sent=sent, element=self._element))

        return call


class Streamed(Generic[P]):
    """A row: a route that tells what happens to a job as it happens."""

    method = "GET"

    def __init__(self, path: str, *, sent: Callable[P, Sent]) -> None:
        self.path = path
        self.sent = sent

    @overload
    def __get__(self, client: Sends, owner: type) -> Callable[P, Generator[Told, None, None]]: ...
    @overload
    def __get__(self, client: SendsLater, owner: type) -> Callable[P, AsyncGenerator[Told, None]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """The method of that client."""

        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            sent = self.sent(*arguments, **named)
            return client.listen(Stream(url=_filled(self.path, sent.places), sent=sent))

        return call


def _filled(path: str, places: Mapping[str, str]) -> str:
    """The path with its places filled in; a model's id keeps its slashes and colons."""
    return path.format(**{name: quote(value, safe="/:") for name, value in places.items()})
