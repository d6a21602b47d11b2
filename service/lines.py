"""Documents a line: JSON objects that are read as one of our models, whoever wrote the file."""

from collections.abc import Iterator
from typing import Final, TypeVar

from pydantic import BaseModel

from infonce.file_limits import DEFAULT_LIMITS
from infonce.jsonl import IssueLog, Lines, TextLines
from service.bodies import parse
from service.errors import InvalidInput

Model = TypeVar("Model", bound=BaseModel)

_MAX_LINES: Final = 1 << 40  # a stream has no total limit


def parsed_lines(stream: Lines, model: type[Model], *, log: IssueLog) -> Iterator[tuple[int, Model]]:
    """Number and content of each line that is a `model`; the others are counted in the log."""
    longest = DEFAULT_LIMITS.max_document_line_bytes
    for line, text in TextLines(stream, log, max_line_bytes=longest, max_lines=_MAX_LINES):
        try:
            yield line, parse(model, text.encode())
        except InvalidInput as error:
            for place in error.places:
                field = None if place.pointer is None else place.pointer.strip("/")
                log.add(place.code, place.detail, line=line, field=field)
