"""Stored bytes as an answer: streamed, in ranges where they are asked for, with the digest that they should have."""

import base64
import re
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from service.errors import ServiceError
from service.etags import not_modified
from service.problems import add_headers
from service.store.artifacts import disk_errors
from service.store.errors import UPLOAD_REMEDY, ArtifactCorrupt

BINARY: Final = "application/octet-stream"
CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The bytes", "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "If-None-Match names the ETag that they have"},
    206: {"description": "A part of them", "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}},
}
"""What the OpenAPI document says of such an answer."""

_RANGE: Final = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-0*[1-9][0-9]{0,17})")


def content_of(request: Request, path: Path, *, name: str, num_bytes: int, sha256: str) -> Response:
    """The file under that name, or a 304 for who has it; whoever reads it can compare it with the digest of the header.

    It is not hashed here: each range of a gigabyte would take as long as all of it.

    Raises:
        ArtifactCorrupt: it is gone, or of another length than was written.
        ServiceError: the range that is asked for begins behind its end (`range_not_satisfiable`).
    """
    with disk_errors():
        found = path.stat() if path.is_file() else None
    if found is None or found.st_size != num_bytes:
        reason = "is gone" if found is None else f"has {found.st_size} bytes instead of {num_bytes}"
        raise ArtifactCorrupt(path.parent.name, file=path.name, reason=reason, remedy=UPLOAD_REMEDY)
    unchanged = {"etag": f'"{sha256}"', "x-content-type-options": "nosniff"}
    if (answer := not_modified(request, unchanged)) is not None:
        return answer
    _settle_range(request, num_bytes)
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {**unchanged, "repr-digest": f"sha-256=:{digest}:"}
    return FileResponse(path, filename=name, media_type=BINARY, headers=headers, stat_result=found)


def _settle_range(request: Request, num_bytes: int) -> None:
    """What is left in the request is one range that the file has, or none: RFC 9110 lets a server ignore all others."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    first = 0 if asked is None else int(asked["first"] or 0)
    last = first if asked is None else int(asked["last"] or first)
    if asked is None or last < first or num_bytes == 0:
        request.scope["headers"] = [field for field in request.scope["headers"] if field[0] != b"range"]
    elif first >= num_bytes:
        add_headers(request, {"content-range": f"bytes */{num_bytes}"})
        message = f"The file has {num_bytes} bytes and the range begins at {first}; ask for one that begins in it"
        raise ServiceError("range_not_satisfiable", message)
