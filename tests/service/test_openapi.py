"""The API is what it was: no route, field or default changes without somebody meaning it."""

import difflib

from tests.service.conftest import Gateway
from tests.service.openapi_document import FROZEN, normalised


def test_the_document_is_the_frozen_one(gateway: Gateway) -> None:
    frozen, found = FROZEN.read_text("utf-8"), normalised(gateway.http.get("/openapi.json").json())
    changed = "\n".join(
        difflib.unified_diff(frozen.splitlines(), found.splitlines(), "frozen", "found", lineterm="", n=1)
    )
    assert found == frozen, f"if this is meant: python -m tests.service.openapi_document\n{changed[:6_000]}"
