"""A file of documents to search, one JSON object a line: `{id?, text, title?, metadata?}`, also inside gzip or zstd.

`_id` and `title` are as BEIR writes them: title and text are joined by a blank.
"""

import io
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

from infonce.compression import Unpacked, compression_of
from infonce.file_limits import DEFAULT_LIMITS, FileLimits
from infonce.jsonl import IssueLog, Row, TextLines, json_type, rows

MAX_ID_CHARACTERS: Final = 512
MAX_METADATA: Final = 64
MAX_METADATA_KEY_CHARACTERS: Final = 128
MAX_METADATA_CHARACTERS: Final = 4_096
MAX_METADATA_VALUES: Final = 256
_MAX_WHOLE = 2**53
_MAX_KEPT_CHARACTERS = 32
_FIELDS = frozenset({"id", "_id", "text", "title", "metadata"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text to search."""

    line: int
    id: str | None
    """None where the file does not say; those it says differ."""
    text: str
    """Title and text, joined by a blank."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """A few texts, numbers, true, false, null, or lists of these, by name: what a collection's documents may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentCounts:
    """What a whole file of documents holds."""

    documents: int
    longest_characters: int
    """Of the longest text, its title included."""
    empty_lines: int
    ignored_fields: int
    """Every occurrence of a field that is not ours."""


def read_documents(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> list[str]:
    """Title and text of each line, joined by a blank; short enough to stand in a pair.

    Raises:
        DatasetError: a line is broken, or there are none; all issues are counted.
    """
    return [document.text for document in iterate_documents(path, limits, max_characters=limits.max_text_characters)]


def check_documents(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> DocumentCounts:
    """Every line was read and holds a document.

    Raises:
        DatasetError: a line is broken, or there are none; all issues are counted.
    """
    log = IssueLog()
    with _opened(path, log, limits=limits) as lines:
        reader = _Reader(lines, log, max_characters=limits.max_document_characters)
        num, longest = 0, 0
        for document in reader:
            num, longest = num + 1, max(longest, len(document.text))
    log.raise_any()
    return DocumentCounts(
        documents=num,
        longest_characters=longest,
        empty_lines=lines.empty_lines,
        ignored_fields=reader.ignored_fields,
    )


def iterate_documents(
    path: Path, limits: FileLimits = DEFAULT_LIMITS, *, max_characters: int | None = None
) -> Iterator[Document]:
    """The documents of the file in their order, one in memory at a time; a text may have so many characters.

    Raises:
        DatasetError: at the end, where a line is broken or there are none; all issues are counted.
    """
    log = IssueLog()
    with _opened(path, log, limits=limits) as lines:
        yield from _Reader(lines, log, max_characters=max_characters or limits.max_document_characters)
    log.raise_any()


def documents_behind(path: Path, line: int, *, limits: FileLimits = DEFAULT_LIMITS) -> Iterator[Document]:
    """The documents behind that line of a file that was checked before: of ids that stand twice nothing is said.

    Raises:
        DatasetError: at the end, where a line is broken after all.
    """
    log = IssueLog()
    with _opened(path, log, limits=limits) as lines:
        lines.skip(line)
        yield from _Reader(lines, log, max_characters=limits.max_document_characters).documents()
    log.raise_any()


@contextmanager
def _opened(path: Path, log: IssueLog, *, limits: FileLimits) -> Iterator[TextLines]:
    """The lines of the file, unpacked where it is packed; open until the block ends."""
    with path.open("rb") as file:
        kind = compression_of(file.peek(4))
        stream: BinaryIO = file
        if kind is not None:
            stream = io.BufferedReader(Unpacked(file, kind, max_bytes=limits.max_unpacked_bytes), 1 << 16)
        yield TextLines(stream, log, max_line_bytes=limits.max_document_line_bytes, max_lines=limits.max_documents)


class _Reader:
    """The documents of the lines; broken ones are counted in the log."""

    def __init__(self, lines: TextLines, log: IssueLog, *, max_characters: int) -> None:
        self.ignored_fields = 0
        self._lines = lines
        self._log = log
        self._max_characters = max_characters
        self._ids: set[str | bytes] = set()

    def __iter__(self) -> Iterator[Document]:
        found = False
        for document in self.documents():
            found = True
            yield document
        if not found and not self._log.num_issues:
            detail = f"the file has no documents ({self._lines.empty_lines} empty lines)"
            self._log.add("empty_dataset", f"{detail}; write one object with text a line")

    def documents(self) -> Iterator[Document]:
        """As many as there are."""
        for row in rows(self._lines, self._log):
            broken = self._log.num_issues
            self.ignored_fields += len(row.values.keys() - _FIELDS)
            text, id, metadata = self._text(row), self._id(row), self._metadata(row)
            if text is not None and self._log.num_issues == broken:
                yield Document(line=row.line, id=id, text=text, metadata=metadata)

    def _text(self, row: Row) -> str | None:
        return self._log.titled_text(row, limit=self._max_characters)

    def _id(self, row: Row) -> str | None:
        name = "_id" if "_id" in row.values and "id" not in row.values else "id"
        value = row.values.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        id = self._log.checked(value, name, line=row.line, limit=MAX_ID_CHARACTERS)
        if id is None:
            return None
        if any(unicodedata.category(character) == "Cc" for character in id):
            detail = f"{name} has a tab, a line end or another control character; remove it"
            self._log.add("invalid_text", detail, line=row.line, field=name)
        elif (key := _key(id)) in self._ids:
            detail = f"{name} {id[:60]!r} stands a second time; ids must differ"
            self._log.add("duplicate_id", detail, line=row.line, field=name)
        else:
            self._ids.add(key)
        return id

    def _metadata(self, row: Row) -> dict[str, Any]:
        value = row.values.get("metadata")
        if value is None:
            return {}
        if (problem := _metadata_problem(value)) is not None:
            self._log.add("invalid_value", f"metadata {problem}", line=row.line, field="metadata")
            return {}
        assert isinstance(value, dict), "anything else is a problem"
        return value


def _key(id: str) -> str | bytes:
    """By what an id is known again: a million long ones would take a gigabyte."""
    return (
        id if len(id) <= _MAX_KEPT_CHARACTERS else blake2b(id.encode(errors="surrogatepass"), digest_size=16).digest()
    )


def _metadata_problem(value: object) -> str | None:
    """Why a collection's document cannot have it; nothing if it can."""
    if not isinstance(value, dict):
        return f"is {json_type(value)}; it must be an object"
    if len(value) > MAX_METADATA:
        return f"has {len(value)} keys; the limit is {MAX_METADATA}; leave some out"
    for key, held in value.items():
        if not 1 <= len(key) <= MAX_METADATA_KEY_CHARACTERS or not _is_plain(key):
            limit = f"1 to {MAX_METADATA_KEY_CHARACTERS} characters, neither NUL nor a surrogate"
            return f"has the key {key[:60]!r}; a key has {limit}; rename it"
        held = held if isinstance(held, list) else [held]
        if len(held) > MAX_METADATA_VALUES:
            return f"has {len(held)} values at {key[:60]!r}; the limit is {MAX_METADATA_VALUES}; leave some out"
        if not all(map(_is_scalar, held)):
            known = f"a text of up to {MAX_METADATA_CHARACTERS} characters, a number within ±2^53, true, false or null"
            return f"has at {key[:60]!r} what is not {known}, or a list of these"
    return None


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_METADATA_CHARACTERS and _is_plain(value)
    return value is None or (isinstance(value, int | float) and abs(value) <= _MAX_WHOLE)


def _is_plain(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)
