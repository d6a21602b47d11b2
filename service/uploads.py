"""Bodies that go to disk as they arrive: a multipart upload, or a plain stream; never whole in memory.

What is received is a part file in the artifact root's `tmp`; it is gone at the end of the block unless it was renamed.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from infonce.errors import DatasetError
from infonce.long_lines import LongLines
from service.bodies import refuse_declared, require_type
from service.digests import check_sha256, stated_sha256
from service.errors import ServiceError, TooLarge
from service.forms import FILE_FORM, Form, FormShape
from service.problems import add_headers
from service.store.artifacts import Artifacts, disk_errors

_OVERHEAD = 64 << 10  # what boundaries, headers and fields may add to the file
_WRITE_BYTES = 1 << 20  # written at once: one trip to a thread per MiB


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file as it was received, checked for nothing but its size."""

    path: Path
    filename: str
    """A label: the last part of the caller's name without anything that does not print."""
    fields: Mapping[str, bytes]
    """As they were sent."""
    num_bytes: int
    sha256: str


class PartFile:
    """A new file that grows, its size and sha256 counted while it is written."""

    def __init__(self, path: Path) -> None:
        with disk_errors():
            self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self.num_bytes = 0

    async def add(self, data: bytes) -> None:
        """`data` stands at the end of the file, or will after the next MiB.

        Raises:
            StorageFull: the disk is full.
        """
        self.num_bytes += len(data)
        self._waiting += data
        if len(self._waiting) >= _WRITE_BYTES:
            await run_in_threadpool(self._write)

    async def finish(self) -> str:
        """Everything is written; the sha256 of all of it."""
        await run_in_threadpool(self._write)
        return self._digest.hexdigest()

    def close(self) -> None:
        """The file is closed; what was not finished is not there."""
        self._file.close()

    def _write(self) -> None:
        data, self._waiting = memoryview(bytes(self._waiting)), bytearray()
        self._digest.update(data)
        with disk_errors():
            while data:
                data = data[self._file.write(data) :]


@asynccontextmanager
async def received_upload(
    request: Request, artifacts: Artifacts, *, limit: int, shape: FormShape = FILE_FORM
) -> AsyncIterator[Upload]:
    """The file and the fields of a multipart body.

    Raises:
        TooLarge: the file has more than `limit` bytes.
        DatasetError: a line of it is longer than any reader takes.
        ServiceError: it is no multipart body, broken, has other fields, or body or file is not what its Content-Digest
            says.
        StorageFull: the disk is full.
    """
    form, lines = Form(_boundary(request), shape), LongLines()
    stated = request.headers.get("content-digest")
    stated_body = None if stated is None else stated_sha256(stated)
    body = hashlib.sha256()
    refuse_declared(request, limit + _OVERHEAD, what="the upload")
    path = artifacts.new_part()
    try:
        part = PartFile(path)
        try:
            async for chunk in _chunks(request):
                if stated is not None:
                    body.update(chunk)
                data = form.feed(chunk)
                if shape is FILE_FORM:  # parts and models are no lines
                    _refuse_long_lines(lines, data, request=request, max_bytes=form.max_line_bytes)
                await part.add(data)
                if part.num_bytes > limit:
                    raise TooLarge(f"the {shape.file}", limit, remedy=shape.remedy)
            form.check_end()
            sha256 = await part.finish()
        finally:
            part.close()
        check_sha256(stated_body, body.hexdigest(), what="the body")
        check_sha256(form.stated_sha256, sha256, what="the file")
        yield Upload(
            path=path,
            filename=form.filename,
            fields=form.fields,
            num_bytes=part.num_bytes,
            sha256=sha256,
        )
    finally:
        artifacts.discard(path)


@asynccontextmanager
async def received_stream(request: Request, artifacts: Artifacts) -> AsyncIterator[Path]:
    """The whole body as a file, however long it is.

    Raises:
        StorageFull: the disk is full.
    """
    path = artifacts.new_part()
    try:
        part = PartFile(path)
        try:
            async for chunk in _chunks(request):
                await part.add(chunk)
            await part.finish()
        finally:
            part.close()
        yield path
    finally:
        artifacts.discard(path)


def _refuse_long_lines(lines: LongLines, data: bytes, *, request: Request, max_bytes: int) -> None:
    try:
        lines.look(data, max_bytes=max_bytes)
    except DatasetError:
        add_headers(request, {"connection": "close"})  # the rest of the body is not wanted
        raise


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise ServiceError("incomplete_body", "the body ended early; nothing of it is kept") from None


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != b"multipart/form-data":
        require_type(request, "multipart/form-data")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ServiceError("unsupported_encoding", "Content-Encoding is not supported here; send the body as it is")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise ServiceError("malformed_multipart", "Content-Type names no usable boundary; let your client set it")
    return boundary
