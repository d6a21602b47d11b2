"""What the client sends and how it reads answers: values and pure functions, which a client that blocks and one that is
awaited share.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Generic, TypeVar, cast

import httpx2
from pydantic import TypeAdapter, ValidationError

from service.errors import ApiError
from service.schemas.lists import Listing
from service.schemas.strict import Answer

ATTEMPTS: Final = 4
"""Of a request that may be repeated, while the server says that it is busy."""
IDEMPOTENCY_KEY: Final = "idempotency-key"
_LONGEST_PAUSE_SECONDS = 5.0
_WINDOW = "100"  # elements; the most that a list gives at once

A = TypeVar("A")
E = TypeVar("E", bound=Answer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What of a request the arguments of a call decide."""

    places: Mapping[str, str] = field(default_factory=dict)
    """What stands in the braces of the path."""
    params: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    """The query string; None is left out, several values stand one after the other."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Beside those that every request has; None is left out."""
    body: object = None
    """JSON, unless None."""
    lines: Iterable[bytes] | None = None
    """NDJSON, sent as it comes."""
    path: Path | None = None
    """A file that is streamed as the form field `form_name`, beside `form`."""
    form_name: str = "file"
    form: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    """What the file must have when it arrives, in hexadecimal digits."""
    into: Path | None = None
    """Where the bytes of the answer go, as they come."""
    on_bytes: Callable[[int], None] = lambda _: None
    """Told how many bytes of a file were read or written, each time some are."""
    until: float = math.inf
    """When a stream is left, as `time.monotonic` tells it; the next thing that comes behind it is not waited for."""


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
    def headers(self) -> dict[str, str]:
        """Its own ones."""
        return {name: value for name, value in self.sent.headers.items() if value is not None}

    @property
    def repeatable(self) -> bool:
        """Whether a busy server may be asked again: it changes nothing, or has a key under which it is done once."""
        return self.method == "GET" or (IDEMPOTENCY_KEY in self.headers and self.sent.lines is None)

    def under(self, key: str | None) -> "Request[A]":
        """The same, if it is a POST done once under that key."""
        if key is None or self.method != "POST":
            return self
        return replace(self, sent=replace(self.sent, headers={**self.sent.headers, IDEMPOTENCY_KEY: key}))

    def read(self, got: httpx2.Response) -> A:
        """The typed answer.

        Raises:
            ApiError: the answer is an error, or not what was expected.
        """
        if self.answer is str and got.is_success:
            return cast("A", got.text)
        body = checked(got)
        try:
            return TypeAdapter(self.answer).validate_python(body)
        except ValidationError as error:
            raise unknown(got, body, error=error) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages(Generic[E]):
    """A list, asked for window by window."""

    url: str
    sent: Sent
    element: type[E]

    def request(self, after: str | None) -> Request[Listing[E]]:
        """That for the window behind `after`, the first one if that is None."""
        begun = {} if after is None else {"after": after}
        sent = replace(self.sent, params={**self.sent.params, "limit": _WINDOW, **begun})
        answer: type[Listing[E]] = Listing[self.element]  # type: ignore[name-defined]  # a type that runs find out
        return Request(method="GET", url=self.url, sent=sent, answer=answer)


def pause_seconds(got: httpx2.Response) -> float | None:
    """How long to wait before the same request is sent again; None where the answer stands."""
    if got.status_code not in (429, 503):
        return None
    asked = got.headers.get("retry-after", "1")
    return min(float(asked) if asked.isdecimal() else 1.0, _LONGEST_PAUSE_SECONDS)


def checked(got: httpx2.Response) -> object:
    """The JSON of a good answer.

    Raises:
        ApiError: the answer is an error, or no JSON.
    """
    try:
        body = got.json()
    except ValueError:
        message = f"the answer {got.status_code} is no JSON; is this an infonce gateway?"
        raise bad_answer(got, "no_json", message=message, body=None) from None
    if got.is_success:
        return body
    error = body.get("error", {}) if isinstance(body, dict) else {}
    code, message = str(error.get("code", "unknown")), str(error.get("message", got.reason_phrase))
    raise bad_answer(got, code, message=message, body=body)


def unknown(got: httpx2.Response, body: object, *, error: ValidationError) -> ApiError:
    """What is raised where an answer is of another form than the client knows."""
    request = got.request
    asked = f"{request.method} {request.url.raw_path.decode().partition('?')[0]}"
    message = f"the answer to {asked} is none that this version of the client knows: {error}"
    return bad_answer(got, "unknown_answer", message=message, body=body)


def bad_answer(got: httpx2.Response, code: str, *, message: str, body: object) -> ApiError:
    """An answer as the error that it is."""
    request_id = got.headers.get("x-request-id")
    return ApiError(message, status=got.status_code, code=code, request_id=request_id, body=body)
