"""Every answer that a test gets is one that the OpenAPI document knows."""

import json
import re
from functools import cache

import httpx2

from tests.service.openapi_document import FROZEN


@cache
def operations() -> list[tuple[str, re.Pattern[str], frozenset[str]]]:
    """Method, path and statuses of each operation; a path that says more stands before one that says less."""
    paths = json.loads(FROZEN.read_text("utf-8"))["paths"]
    return [
        (method.upper(), _pattern(path), frozenset(operation["responses"]))
        for path, methods in sorted(paths.items(), key=lambda item: item[0].count("{"))
        for method, operation in methods.items()
    ]


def _pattern(path: str) -> re.Pattern[str]:
    any_text = ".+" if path.startswith("/v1/models/") else "[^/]+"
    return re.compile(re.sub(r"\\\{\w+\\\}", any_text, re.escape(path)))


def check(method: str, path: str, *, status: int) -> None:
    """Fail if an operation answers what its document does not say; other paths and methods are no operations."""
    for known, pattern, statuses in operations():
        if known == method and pattern.fullmatch(path):
            assert str(status) in statuses, f"{method} {path} answers {status}; service/documented.py knows {statuses}"
            return


def check_answer(answer: httpx2.Response) -> None:
    """The same, as a hook of a client."""
    check(answer.request.method, answer.request.url.path, status=answer.status_code)
