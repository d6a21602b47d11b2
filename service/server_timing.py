"""The `Server-Timing` header: where the time of an answer went, for browsers and for whoever looks at slow requests."""

from collections.abc import Mapping

from starlette.requests import Request

from service.problems import add_headers


def tell(request: Request, seconds: Mapping[str, float]) -> None:
    """The answer says how long each stage took, in milliseconds."""
    stages = ", ".join(f"{name};dur={1_000 * spent:.2f}" for name, spent in seconds.items())
    add_headers(request, {"server-timing": stages})
