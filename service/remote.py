"""How the commands that speak to a server find it, and how they say what went wrong there."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.console import FAILED, sentences
from service.errors import ApiError, ServiceError

if TYPE_CHECKING:
    from service.client import Client
    from service.schemas.strict import Answer

API_KEY: Final = "INFONCE_API_KEY"
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")

Url = Annotated[str, typer.Option(help="Where the gateway answers.", envvar="INFONCE_URL")]
Labels = Annotated[
    list[str] | None, typer.Option("--metadata", help="Only what has this label, as NAME=TEXT; may be repeated.")
]
DEFAULT_URL: Final = "http://127.0.0.1:8000"


@contextmanager
def connected(url: str) -> Iterator["Client"]:
    """A client of that gateway; what it refuses, and that it does not answer, is a sentence with exit code 1."""
    import httpx2

    from service.client import Client

    with sentences():
        try:
            with Client(url, api_key=_key()) as client:
                yield client
        except ApiError as error:
            _say(error)
            raise typer.Exit(FAILED) from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            remedy = "start `infonce serve`, or say with --url or INFONCE_URL where it is"
            raise ServiceError("unavailable", f"no gateway answers at {url} ({error}); {remedy}") from None


def printed(answer: "Answer") -> None:
    """The answer is a line of JSON on stdout."""
    print(answer.model_dump_json(by_alias=True), flush=True)


def printed_list(answers: list["Answer"]) -> None:
    """The answers are one object on one line of stdout, in the shape of the API's lists."""
    rows = [answer.model_dump(mode="json", by_alias=True) for answer in answers]
    print(json.dumps({"object": "list", "data": rows}), flush=True)


def _key() -> str | None:
    """The key of the environment, which is nobody else's to read: the sentence does not repeat it."""
    key = os.environ.get(API_KEY) or None
    if key is not None and not _VISIBLE.fullmatch(key):
        message = f"{API_KEY} is no key: it has a blank, or a character that no header can carry"
        raise ServiceError("invalid_value", message + "; set it to what `infonce keys create` prints")
    return key


def _say(error: ApiError) -> None:
    """The gateway's sentence, and every broken place that it names, on stderr."""
    body = error.body if isinstance(error.body, dict) else {}
    places = body.get("errors") or []
    if len(places) > 1:
        for place in places:
            where = "" if place.get("line") is None else f"line {place['line']}: "
            print(f"infonce: {where}{place['detail']} [{place['code']}]", file=sys.stderr)
        if further := body.get("further_errors"):
            print(f"infonce: and {further:,} more", file=sys.stderr)
        return
    remedy = f"; set {API_KEY} to a key of that server" if error.status == 401 else ""
    print(f"infonce: {error}{remedy} [{error.code}]", file=sys.stderr, flush=True)


def labels_of(metadata: Sequence[str] | None) -> dict[str, str]:
    """The labels that were asked for.

    Raises:
        ConfigError: one is not of the form NAME=TEXT.
    """
    from service.order_options import named_texts

    return named_texts("--metadata", metadata or [])
