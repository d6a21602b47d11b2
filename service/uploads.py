"""Bodies that go to disk as they arrive: a multipart upload, or a plain stream; never whole in memory.

What is received is a part file in the artifact root's `tmp`; it is gone at the end of the block unless it was renamed.
"""

import hashlib
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from infonce.errors import DatasetError
from infonce.file_limits import DEFAULT_LIMITS
from infonce.long_lines import LongLines
from service.bodies import refuse_declared, require_type
from service.digests import check_sha256, stated_sha256
from service.errors import InvalidInput, Place, ServiceError, TooLarge
from service.problems import add_headers
from service.store.artifacts import Artifacts, disk_errors
from service.store.records import FilePurpose

HEADER_LIMIT = 32 << 10
"""Of a part: a file name of 5,000 characters is odd and no reason to refuse the file."""
_OVERHEAD = 64 << 10  # what boundaries, headers and fields may add to the file
_WRITE_BYTES = 1 << 20  # written at once: one trip to a thread per MiB
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FormShape:
    """What a form is made of: one file, and fields of so many bytes each."""

    file: str = "file"
    fields: Mapping[str, int] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    remedy: str = "split it, or raise INFONCE_MAX_UPLOAD_BYTES"
    """For a file that is too large."""


FILE_FORM: Final = FormShape(fields={"purpose": 1 << 10, "mapping": 16 << 10}, required=("purpose",))
"""A mapping may name many fields."""


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
    form, lines = _Form(_boundary(request), shape), LongLines()
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


class _Form:
    """The state of one multipart body: fields are kept, the bytes of the file are handed on."""

    def __init__(self, boundary: bytes, shape: FormShape) -> None:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        callbacks = {f"on_{name}": getattr(self, f"_{name}") for name in (*names, "headers_finished", "end")}
        known: Any = callbacks  # a TypedDict of callables
        self._parser = MultipartParser(boundary, known, max_header_size=HEADER_LIMIT)
        self._shape = shape
        self.fields: dict[str, bytes] = {}
        self.filename = ""
        self.stated_sha256: str | None = None
        """What the part of the file says of it."""
        self._has_file = self._ended = False
        self._out = bytearray()
        self._name = ""
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}

    @property
    def max_line_bytes(self) -> int:
        """Of the file, as far as is known what it is for."""
        pairs, longest = DEFAULT_LIMITS.max_line_bytes, DEFAULT_LIMITS.max_document_line_bytes
        return pairs if self.fields.get("purpose") == FilePurpose.FINE_TUNE.value.encode() else longest

    def feed(self, chunk: bytes) -> bytes:
        """The bytes of the file among those of `chunk`."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ServiceError("malformed_multipart", f"the multipart body is broken: {error}") from None
        data, self._out = bytes(self._out), bytearray()
        return data

    def check_end(self) -> None:
        """Raise unless the body is whole and has a file and the fields that are required."""
        if not self._ended:
            raise ServiceError("malformed_multipart", "the multipart body has no closing boundary; it ended early")
        needed = (self._shape.file, *self._shape.required)
        for name in needed:
            if not (self._has_file if name == self._shape.file else name in self.fields):
                detail = f"{name} is missing; send {' and '.join(needed)} as multipart/form-data"
                raise InvalidInput([Place(code="missing_field", pointer=f"/{name}", detail=detail)], param=name)

    def _part_begin(self) -> None:
        self._headers, self._name = {}, ""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        known = (self._shape.file, *self._shape.fields)
        if self._name not in known:
            detail = f"{self._name[:100]!r} is not a known field; known are {', '.join(known)}"
            raise InvalidInput([Place(code="unknown_field", detail=detail)], param=self._name[:100])
        is_file = self._name == self._shape.file
        if self._name in self.fields or (is_file and self._has_file):
            detail = f"{self._name} is given twice; send one file at a time"
            raise InvalidInput([Place(code="invalid_value", pointer=f"/{self._name}", detail=detail)], param=self._name)
        if is_file:
            self._has_file = True
            self.filename = label(options.get(b"filename", b"").decode("utf-8", "replace"))
            if (stated := self._headers.get(b"content-digest")) is not None:
                self.stated_sha256 = stated_sha256(stated.decode("latin-1"))
        else:
            self.fields[self._name] = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._shape.file:
            self._out += data[start:end]
            return
        self.fields[self._name] += data[start:end]
        if len(self.fields[self._name]) > (limit := self._shape.fields[self._name]):
            raise TooLarge(f"the field {self._name}", limit)

    def _part_end(self) -> None:
        self._name = ""

    def _end(self) -> None:
        self._ended = True


def label(filename: str) -> str:
    """What is shown of a file name: its last part, NFC, without what does not print, at most 255 characters."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in unicodedata.normalize("NFC", last) if unicodedata.category(c) not in _INVISIBLE)
    return shown.strip()[:255] or "upload"
