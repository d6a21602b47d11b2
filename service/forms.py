"""Multipart forms: which fields one has, and what its bytes are as they come: one file among small fields."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from infonce.file_limits import DEFAULT_LIMITS
from service.digests import stated_sha256
from service.errors import InvalidInput, Place, ServiceError, TooLarge
from service.given_metadata import METADATA_BYTES, METADATA_FIELD, PAIR_BYTES, key_of, refuse_many
from service.store.records import FilePurpose

HEADER_LIMIT = 32 << 10
"""Of a part: a file name of 5,000 characters is odd and no reason to refuse the file."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}
_ESCAPED = {"%22": '"', "%0A": "\n", "%0D": "\r"}
"""What browsers and their like write for characters that a field's name cannot hold, by HTML's standard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FormShape:
    """What a form is made of: one file, and fields of so many bytes each."""

    file: str = "file"
    fields: Mapping[str, int] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    remedy: str = "split it, or raise INFONCE_MAX_UPLOAD_BYTES"
    """For a file that is too large."""

    def max_bytes(self, name: str) -> int | None:
        """Of the field of that name; None where the form has none. Where it has `metadata`, each key may be one."""
        if METADATA_FIELD in self.fields and key_of(name) is not None:
            return PAIR_BYTES
        return self.fields.get(name)


FILE_FORM: Final = FormShape(
    fields={"purpose": 1 << 10, "mapping": 16 << 10, METADATA_FIELD: METADATA_BYTES}, required=("purpose",)
)
"""A mapping may name many fields."""


class Form:
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
        self._name = _unescaped(options.get(b"name", b"").decode("utf-8", "replace"))
        is_file = self._name == self._shape.file
        if not is_file and self._shape.max_bytes(self._name) is None:
            known = ", ".join((self._shape.file, *self._shape.fields))
            detail = f"{self._name[:100]!r} is not a known field; known are {known}"
            raise InvalidInput([Place(code="unknown_field", detail=detail)], param=self._name[:100])
        if self._name in self.fields or (is_file and self._has_file):
            name = self._name[:100]
            detail = f"{name} is given twice; send one file at a time"
            raise InvalidInput([Place(code="invalid_value", pointer=f"/{name}", detail=detail)], param=name)
        if is_file:
            self._has_file = True
            self.filename = label(options.get(b"filename", b"").decode("utf-8", "replace"))
            if (stated := self._headers.get(b"content-digest")) is not None:
                self.stated_sha256 = stated_sha256(stated.decode("latin-1"))
            return
        if key_of(self._name) is not None:
            refuse_many(self.fields)
        self.fields[self._name] = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._shape.file:
            self._out += data[start:end]
            return
        self.fields[self._name] += data[start:end]
        limit = self._shape.max_bytes(self._name)
        if limit is not None and len(self.fields[self._name]) > limit:
            raise TooLarge(f"the field {self._name[:100]}", limit)

    def _part_end(self) -> None:
        self._name = ""

    def _end(self) -> None:
        self._ended = True


def label(filename: str) -> str:
    """What is shown of a file name: its last part, NFC, without what does not print, at most 255 characters."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in unicodedata.normalize("NFC", last) if unicodedata.category(c) not in _INVISIBLE)
    return shown.strip()[:255] or "upload"


def _unescaped(name: str) -> str:
    return re.sub("|".join(_ESCAPED), lambda found: _ESCAPED[found[0]], name)
