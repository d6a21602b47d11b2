"""What the benchmarks read: a model's folder, pairs, texts and judgements; a user's files, or what Python brings."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from infonce.docstrings import SetSizes, installed_sources, read_docstrings
from infonce.errors import InfonceError
from infonce.formats import DEFAULT_LIMITS, read_pairs
from infonce.hub import Hub
from infonce.jsonl import IssueLog, TextLines, rows
from infonce.pairs import Pair

_PEER_PACKAGES: Final = ("sentence_transformers", "datasets", "accelerate")
_TEXT_FIELDS: Final = ("text", "positive")


def check_peer() -> None:
    """Raise `InfonceError` unless what is measured against is installed; nothing was imported."""
    missing = [name.replace("_", "-") for name in _PEER_PACKAGES if find_spec(name) is None]
    if missing:
        raise InfonceError(
            f"{' and '.join(missing)}, which this is measured against, is not installed; "
            "pip install 'infonce-service[bench]'"
        )


def model_folder(model: str) -> Path:
    """The folder named, or what is known by that name; nothing is downloaded."""
    if (Path(model) / "config.json").is_file():
        return Path(model).resolve()
    return Hub.from_env(os.environ).resolve(model).path.resolve()


def some_pairs(path: Path | None, count: int, *, seed: int) -> list[Pair]:
    """At most `count` pairs of the file, drawn by the seed and without their negatives; docstrings without a file."""
    if path is None:
        sizes = SetSizes(pairs=count, queries=1, documents=1)
        return list(read_docstrings(installed_sources(), sizes, seed=seed).train)
    pairs = list(read_pairs(path))
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [Pair(pairs[place].anchor, pairs[place].positive, ()) for place in drawn]


def some_texts(path: Path | None, count: int, *, seed: int) -> list[str]:
    """At most `count` distinct texts, drawn by the seed: `text` or `positive` of each line; docstrings without a file.

    Raises:
        DatasetError: a line has neither, or is no JSON object.
    """
    if path is None:
        return [pair.positive for pair in some_pairs(None, count, seed=seed)]
    log, texts = IssueLog(), dict[str, None]()
    limits = DEFAULT_LIMITS
    with path.open("rb") as stream:
        lines = TextLines(stream, log, max_line_bytes=limits.max_document_line_bytes, max_lines=limits.max_lines)
        for row in rows(lines, log):
            field = next((name for name in _TEXT_FIELDS if name in row.values), _TEXT_FIELDS[0])
            if (text := log.text(row, field, limit=limits.max_document_characters)) is not None:
                texts[text] = None
    if not texts and not log.num_issues:
        log.add("empty_dataset", "the file has no texts; write one object with text or positive a line")
    log.raise_any()
    known = list(texts)
    return [known[place] for place in np.random.default_rng(seed).permutation(len(known))[:count]]
