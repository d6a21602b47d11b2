"""Texts of a file or of standard input become vectors in a file, or lines on standard output."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Final, Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from infonce.config import EncoderConfig, Precision, Side
from infonce.documents import iterate_documents
from infonce.encoder import Encoder
from infonce.errors import ConfigError, DatasetError, Issue
from infonce.file_limits import DEFAULT_LIMITS
from infonce.jsonl import IssueLog, text_problem

BLOCK_TEXTS: Final = 1_024
"""Texts of like length are encoded together within a block; its vectors are written before the next one begins."""


class Watch(Protocol):
    """Who looks on."""

    def phase(self, name: str) -> None:
        """Take note of what begins."""

    def embedded(self, done: int, total: int) -> None:
        """So many texts have their vectors."""

    def stop_requested(self) -> bool:
        """Whether to stop at the next chunk."""


Write = Callable[[int, NDArray[np.float32]], None]
"""Told where a block begins, and its vectors; (n, D)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedOrder:
    """What is to be embedded, by what, and where the vectors go."""

    texts: Path | None
    """None is standard input."""
    model: Path
    output: Path | None
    """None is standard output."""
    side: Side
    encoder: EncoderConfig
    precision: Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """What was written."""

    texts: int
    dimensions: int
    fingerprint: str
    seconds: float
    """Of computing and writing."""

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The texts in their order, and their ids where the file names them."""

    texts: Sequence[str]
    ids: Sequence[str | None]


def embed_file(order: EmbedOrder, watch: Watch) -> Embedded:
    """The vectors are in the output, all of them.

    Raises:
        ConfigError: the output is there already, its folder is not, or its name says no known format.
        DatasetError: a text is empty or too long, or there is none.
        Stopped: the watch asked to stop; no file is written.
    """
    _check_output(order.output)
    watch.phase("reading")
    found = read_texts(order.texts)
    watch.phase("loading")
    encoder = Encoder.load(order.model, order.encoder)
    fingerprint = encoder.fingerprint()
    watch.phase("embedding")
    began, num = perf_counter(), len(found.texts)
    with _written(order.output, found, dimensions=encoder.dimensions) as write:
        for start in range(0, num, BLOCK_TEXTS):
            block = found.texts[start : start + BLOCK_TEXTS]
            stop = watch.stop_requested
            write(start, encoder.encode(block, side=order.side, precision=order.precision, stop=stop))
            watch.embedded(start + len(block), num)
    seconds = perf_counter() - began
    return Embedded(texts=num, dimensions=encoder.dimensions, fingerprint=fingerprint, seconds=seconds)


def read_texts(path: Path | None) -> Texts:
    """A text a line, or the documents of a `.jsonl` file.

    Raises:
        DatasetError: a text is empty, too long or no valid Unicode, or there is none.
    """
    if path is not None and ".jsonl" in path.suffixes:
        documents = list(iterate_documents(path))
        return Texts(texts=[one.text for one in documents], ids=[one.id for one in documents])
    content = sys.stdin.buffer.read() if path is None else path.read_bytes()
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()  # what follows the end of the last line is no line
    log, texts = IssueLog(), []
    for number, line in enumerate(lines, start=1):
        text = line.removesuffix(b"\r").decode("utf-8", errors="surrogateescape")
        if (problem := text_problem(text, DEFAULT_LIMITS.max_document_characters)) is not None:
            log.add(problem[0], f"the text {problem[1]}", line=number)
        texts.append(text)
    log.raise_any()
    if not texts:
        raise DatasetError(
            [Issue(line=None, field=None, code="empty_file", detail="there is no text; write one a line")]
        )
    return Texts(texts=texts, ids=[None] * len(texts))


def _check_output(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix not in (".npy", ".jsonl"):
        raise ConfigError(f"{path} ends in neither .npy nor .jsonl; one of the two says the format", param="output")
    if path.exists():
        raise ConfigError(f"{path} is there already and nothing is overwritten; name a new file", param="output")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} of the output is not there; make it first", param="output")


@contextmanager
def _written(path: Path | None, found: Texts, *, dimensions: int) -> Iterator[Write]:
    """Blocks that are written inside stand in the output afterwards, or, after an error, no file is there."""
    if path is None:
        yield _lines(sys.stdout, found)
        return
    part = path.with_name(f"{path.name}.part")
    try:
        if path.suffix == ".npy":
            array = open_memmap(part, mode="w+", dtype=np.float32, shape=(len(found.texts), dimensions))

            def write(start: int, vectors: NDArray[np.float32]) -> None:
                array[start : start + len(vectors)] = vectors

            yield write
            array.flush()
        else:
            with part.open("w", encoding="utf-8") as file:
                yield _lines(file, found)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _lines(file: IO[str], found: Texts) -> Write:
    def write(start: int, vectors: NDArray[np.float32]) -> None:
        for place, vector in enumerate(vectors, start=start):
            row = {"index": place, "embedding": [float(f"{number:.9g}") for number in vector]}
            if (id := found.ids[place]) is not None:
                row["id"] = id
            print(json.dumps(row), file=file)
        file.flush()

    return write
