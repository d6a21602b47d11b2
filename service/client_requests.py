"""What the client sends and how it reads answers: values and pure functions, which a client that blocks and one that is
awaited share.

A row of the table in `service.client_routes` is a `Call` or a `Listed`. Both are descriptors: read from a client, a row
is a method of that client, with the arguments and the answer that the row says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar, cast, overload
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter, ValidationError

from service.errors import ApiError
from service.schemas.lists import Listing
from service.schemas.strict import Answer

ATTEMPTS: Final = 4
"""Of a request that changes nothing, while the server says that it is busy."""
_LONGEST_PAUSE_SECONDS = 5.0
_WINDOW = "100"  # elements; the most that a list gives at once

P = ParamSpec("P")
A = TypeVar("A")
E = TypeVar("E", bound=Answer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What of a request the arguments of a call decide."""

    places: Mapping[str, str] = field(default_factory=dict)
    """What stands in the braces of the path."""
    params: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    """The query string; None is left out, several values stand one after the other."""
    body: object = None
    """JSON, unless None."""
    lines: Iterable[bytes] | None = None
    """NDJSON, sent as it comes."""
    path: Path | None = None
    """A file that is streamed as the form field `form_name`, beside `form`."""
    form_name: str = "file"
    form: Mapping[str, str] = field(default_factory=dict)
    on_bytes: Callable[[int], None] = lambda _: None
    """Told how many bytes of the file were read, each time some are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Generic[A]):
    """One request, and what its answer is to be read as."""

    method: str
    url: str
    sent: Sent
    answer: type[A]

    @property
    def params(self) -> dict[str, str | Sequence[str]]:
        """The query string."""
        return {name: value for name, value in self.sent.params.items() if value is not None}

    @property
    def repeatable(self) -> bool:
        """Whether it changes nothing, so that a busy server may be asked again."""
        return self.method == "GET"

    def read(self, got: httpx2.Response) -> A:
        """The typed answer.

        Raises:
            ApiError: the answer is an error, or not what was expected.
        """
        if self.answer is str and got.is_success:
            return cast("A", got.text)
        if self.answer is bytes and got.is_success:
            return cast("A", got.content)
        body = _checked(got)
        try:
            return TypeAdapter(self.answer).validate_python(body)
        except ValidationError as error:
            message = f"the answer to {self.method} {self.url} is none that this version of the client knows: {error}"
            raise _api_error(got, "unknown_answer", message=message, body=body) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages(Generic[E]):
    """A list, asked for window by window."""

    url: str
    sent: Sent
    element: type[E]

    def request(self, after: str | None) -> Request[Listing[E]]:
        """That for the window behind `after`."""
        sent = replace(self.sent, params={**self.sent.params, "limit": _WINDOW, "after": after})
        answer: type[Listing[E]] = Listing[self.element]  # type: ignore[name-defined]  # a type that runs find out
        return Request(method="GET", url=self.url, sent=sent, answer=answer)


class Sends(Protocol):
    """A client that blocks."""

    def perform(self, request: Request[A]) -> A:
        """The answer."""

    def iterate(self, pages: Pages[E]) -> Iterator[E]:
        """Every element."""


class SendsLater(Protocol):
    """A client that is awaited."""

    def perform(self, request: Request[A]) -> Awaitable[A]:
        """The answer."""

    def iterate(self, pages: Pages[E]) -> AsyncIterator[E]:
        """Every element."""


class Call(Generic[P, A]):
    """A row: a route, how a call's arguments are sent, and what comes back."""

    def __init__(self, method: str, path: str, *, sent: Callable[P, Sent], answer: type[A]) -> None:
        self.method = method
        self.path = path
        self._sent = sent
        self._answer = answer

    @overload
    def __get__(self, client: Sends, owner: type) -> Callable[P, A]: ...
    @overload
    def __get__(self, client: SendsLater, owner: type) -> Callable[P, Awaitable[A]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """The method of that client."""

        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            return client.perform(self.request(*arguments, **named))

        return call

    def request(self, *arguments: P.args, **named: P.kwargs) -> Request[A]:
        """What a call with these arguments sends."""
        sent = self._sent(*arguments, **named)
        return Request(method=self.method, url=_filled(self.path, sent.places), sent=sent, answer=self._answer)


class Listed(Generic[P, E]):
    """A row: a route that lists, and what it lists."""

    method = "GET"

    def __init__(self, path: str, *, sent: Callable[P, Sent], element: type[E]) -> None:
        self.path = path
        self._sent = sent
        self._element = element

    @overload
    def __get__(self, client: Sends, owner: type) -> Callable[P, Iterator[E]]: ...
    @overload
    def __get__(self, client: SendsLater, owner: type) -> Callable[P, AsyncIterator[E]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """The method of that client."""

        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            sent = self._sent(*arguments, **named)
            return client.iterate(Pages(url=_filled(self.path, sent.places), sent=sent, element=self._element))

        return call


class CountedFile(FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        chunk = super().read(size)
        self._on_bytes(len(chunk))
        return chunk


def pause_seconds(got: httpx2.Response) -> float | None:
    """How long to wait before the same request is sent again; None where the answer stands."""
    if got.status_code not in (429, 503):
        return None
    asked = got.headers.get("retry-after", "1")
    return min(float(asked) if asked.isdecimal() else 1.0, _LONGEST_PAUSE_SECONDS)


def is_loopback(url: str) -> bool:
    """Whether it is this machine's own loopback interface, which no proxy of the environment can reach."""
    host = httpx2.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(got: httpx2.Response) -> object:
    """The JSON of a good answer.

    Raises:
        ApiError: the answer is an error, or no JSON.
    """
    try:
        body = got.json()
    except ValueError:
        message = f"the answer {got.status_code} is no JSON; is this an infonce gateway?"
        raise _api_error(got, "no_json", message=message, body=None) from None
    if got.is_success:
        return body
    error = body.get("error", {}) if isinstance(body, dict) else {}
    code, message = str(error.get("code", "unknown")), str(error.get("message", got.reason_phrase))
    raise _api_error(got, code, message=message, body=body)


def _api_error(got: httpx2.Response, code: str, *, message: str, body: object) -> ApiError:
    request_id = got.headers.get("x-request-id")
    return ApiError(message, status=got.status_code, code=code, request_id=request_id, body=body)


def _filled(path: str, places: Mapping[str, str]) -> str:
    """The path with its places filled in; a model's id keeps its slashes and colons."""
    return path.format(**{name: quote(value, safe="/:") for name, value in places.items()})
