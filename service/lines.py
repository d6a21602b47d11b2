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
_LINES_AT_ONCE: Final = 256
_CHARACTERS_AT_ONCE: Final = 4_000_000


def parsed_lines(stream: Lines, model: type[Model], *, log: IssueLog) -> Iterator[tuple[int, Model]]:
    """Number and content of each line that is a `model`; the others are counted in the log."""
    for line, text in _text_lines(stream, log):
        try:
            yield line, parse(model, text.encode())
        except InvalidInput as error:
            for place in error.places:
                field = None if place.pointer is None else place.pointer.strip("/")
                log.add(place.code, place.detail, line=line, field=field)


def sound_blocks(stream: Lines, model: type[Model], *, context: object) -> Iterator[list[Model]]:
    """The content of all lines, some hundred of them or some megabytes at once, as long as each is a `model`.

    Raises:
        InvalidInput, DatasetError: a line is none; it need not be the first such, for whose number see `parsed_lines`.
    """
    log, block, size = IssueLog(), list[Model](), 0
    for _, text in _text_lines(stream, log):
        block.append(parse(model, text.encode(), context=context))
        size += len(text)
        if len(block) == _LINES_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
            yield block
            block, size = [], 0
    log.raise_any()
    if block:
        yield block


def _text_lines(stream: Lines, log: IssueLog) -> TextLines:
    longest = DEFAULT_LIMITS.max_document_line_bytes
    return TextLines(stream, log, max_line_bytes=longest, max_lines=_MAX_LINES)
